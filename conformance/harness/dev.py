"""`pod-identity-agent dev`, and a pod beside it."""

import json
import os
import signal
import socket
import subprocess
import urllib.parse

from .basics import CACHE, LOG, check, end, tail, wait_for
from .pod import Pod


class Dev:
    """A running `dev`, ended with the block."""

    def __init__(self, agent, name, *options):
        self.name = "dev " + " ".join(options) if options else "dev"
        self.command = [agent, "--verbosity", "trace", "dev", *options]
        self.stdout = LOG / f"{name}.out"
        self.stderr = LOG / f"{name}.err"

    def __enter__(self):
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=poisoned()
            )
        return self

    def __exit__(self, *_error):
        end(self.process)

    def printed(self):
        text = self.stdout.read_text(encoding="utf-8")
        check(text or self.process.poll() is None, f"dev ended: {self.log_tail()}")
        return text

    def pod(self):
        wait_for(lambda: self.printed().endswith("\n"), "the JSON line of dev")
        return DevPod(json.loads(self.printed()))

    def log_tail(self):
        return tail(self.stderr.read_text(encoding="utf-8"))


class DevPod(Pod):
    """What `dev --json` printed, put to use as it says."""

    def __init__(self, printed):
        kept = {k: v for k, v in poisoned().items() if k not in printed["unset"]}
        super().__init__({**kept, **printed["env"]})
        self.pid = printed["pid"]
        self.eks_auth = urllib.parse.urlsplit(printed["eks_auth"])

    def flip_eks_auth(self):
        os.kill(self.pid, signal.SIGUSR1)

    def eks_auth_answers(self):
        try:
            socket.create_connection((self.eks_auth.hostname, self.eks_auth.port), 1).close()
            return True
        except OSError:
            return False


def poisoned():
    """An environment with everything that an SDK would take before it asks the agent."""
    home = CACHE / "home"
    (home / ".aws").mkdir(parents=True, exist_ok=True)
    profile = "[default]\naws_access_key_id = AKIAWRONGFILE\naws_secret_access_key = wrong\n"
    (home / ".aws" / "credentials").write_text(profile, encoding="utf-8")
    return {
        **os.environ,
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "AKIAWRONGENVIRONMENT",
        "AWS_SECRET_ACCESS_KEY": "wrong",
        "AWS_SESSION_TOKEN": "wrong",
        "AWS_PROFILE": "wrong",
        "AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/wrong",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/nonexistent/wrong",
        "AWS_CONFIG_FILE": "/nonexistent/wrong",
        "AWS_SHARED_CREDENTIALS_FILE": str(home / ".aws" / "credentials"),
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/wrong",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "wrong",
    }
