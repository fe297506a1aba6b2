"""Checking, waiting, running a program, saying a line."""

import pathlib
import subprocess
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent.parent
CACHE = HERE / ".cache"
LOG = CACHE / "log"
URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
DEADLINE = 30


class Unexpected(Exception):
    """What a case found instead of what it wants, in words."""


def check(holds, words):
    if not holds:
        raise Unexpected(words)


def check_key(key, expected):
    check(key.startswith("ASIA"), f"printed {key!r}, which no EKS Auth here ever minted")
    check(key in expected, f"printed {key}, a raw request gets {' or '.join(expected)}")


def wait_for(condition, what):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        check(time.monotonic() < deadline, f"waited {DEADLINE} s in vain for {what}")
        time.sleep(0.02)


def answers_ok(url):
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200
    except OSError:
        return False


def execute(command, environment, limit=60):
    return subprocess.run(
        command,
        cwd=HERE,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        timeout=limit,
    )


def end(process):
    """SIGTERM, and SIGKILL for one that does not heed it. The exit code."""
    process.terminate()
    try:
        return process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def tail(text):
    return " | ".join(text.strip().splitlines()[-3:]) or "nothing"


def say(line):
    print(line, flush=True)
