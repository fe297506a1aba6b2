"""Processes that run until the end, each with a log."""

import os
import pathlib
import subprocess

LOGS = pathlib.Path(__file__).resolve().parent / ".cache/log"


class Ended(Exception):
    """There is no use in waiting any longer."""


class Daemons:
    def __init__(self):
        self.processes = {}
        LOGS.mkdir(parents=True, exist_ok=True)
        for old in LOGS.glob("*.log"):
            old.unlink()

    def start(self, name, command):
        with (LOGS / f"{name}.log").open("a") as log:
            self.processes[name] = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": "/root"},
            )

    def kill(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def check(self):
        """Fails with the end of the log of one that has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise Ended(f"{name} has ended with {process.returncode}: {tail(name)}")


def tail(name, lines=8):
    text = (LOGS / f"{name}.log").read_text(errors="replace")
    return "\n".join(text.splitlines()[-lines:])
