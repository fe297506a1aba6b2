"""`pod-identity-agent server` as on a node, and the token volume of a pod."""

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import time

from .basics import CACHE, LOG, TOKEN_FILE, URI, check, end, tail, wait_for
from .eks_auth import CLUSTER, secrets_of
from .namespace import IPV4, IPV6

REGION = "us-west-2"
TOKEN_LIFETIME = 24 * 3600


class Server:
    """The agent with the official flags and ports, ended with the block. Its own credentials are in its
    environment."""

    def __init__(self, agent, eks_auth):
        flags = ["--cluster-name", CLUSTER, "--endpoint", eks_auth.url]
        self.command = [agent, "--verbosity", "trace", "server", *flags]
        self.log = LOG / "server.out"
        self.environment = {
            **without_aws(),
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "AKIANODE000000000000",
            "AWS_SECRET_ACCESS_KEY": "the-secret-key-of-the-node",
        }

    def __enter__(self):
        self.log.write_bytes(b"")
        self.start()
        return self

    def __exit__(self, *_error):
        self.stop()

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        wait_for(self.listens, "both addresses of the agent")

    def stop(self):
        return end(self.process)

    def listens(self):
        check(self.process.poll() is None, f"the agent ended: {tail(self.written())}")
        try:
            for address in (IPV4, IPV6):
                socket.create_connection((address, 80), 1).close()
        except OSError:
            return False
        return True

    def written(self):
        return self.log.read_text(encoding="utf-8")


class Pod:
    """A pod with a token of its own, and the environment that the webhook gives it."""

    minted = []

    def __init__(self, name, host):
        self.volume = CACHE / "pods" / name
        shutil.rmtree(self.volume, ignore_errors=True)
        self.volume.mkdir(parents=True)
        self.rotate()
        (self.volume / "token").symlink_to("..data/token")
        self.environment = {
            **without_aws(),
            "AWS_STS_REGIONAL_ENDPOINTS": "regional",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            URI: f"http://{host}/v1/credentials",
            TOKEN_FILE: str(self.volume / "token"),
        }

    def rotate(self):
        """As kubelet does: a new folder, then `..data` leads there."""
        self.token = mint()
        self.minted.append(self.token)
        folder = self.volume / f"..{secrets.token_hex(8)}"
        folder.mkdir()
        (folder / "token").write_text(self.token, encoding="ascii")
        (self.volume / "..data_tmp").symlink_to(folder.name)
        os.replace(self.volume / "..data_tmp", self.volume / "..data")


def all_secrets():
    """Everything secret that any pod ever had."""
    return [secret for token in Pod.minted for secret in secrets_of(token)]


def mint():
    """A service-account token with a signature of no key: it is not the agent that verifies it."""
    now = int(time.time())
    claims = {
        "aud": ["pods.eks.amazonaws.com"],
        "exp": now + TOKEN_LIFETIME,
        "iat": now,
        "iss": f"https://oidc.eks.{REGION}.amazonaws.com/id/CONFORMANCE",
        "jti": secrets.token_hex(16),
        "kubernetes.io": {
            "namespace": "default",
            "node": {"name": "node", "uid": "00000000-0000-0000-0000-000000000001"},
            "pod": {"name": "conformance-0", "uid": "00000000-0000-0000-0000-000000000002"},
            "serviceaccount": {
                "name": "conformance",
                "uid": "00000000-0000-0000-0000-000000000003",
            },
        },
        "nbf": now,
        "sub": "system:serviceaccount:default:conformance",
    }
    header = {"alg": "RS256", "kid": "conformance", "typ": "JWT"}
    parts = [json.dumps(part).encode() for part in (header, claims)] + [secrets.token_bytes(256)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def without_aws():
    home = CACHE / "empty-home"
    home.mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return {**kept, "HOME": str(home)}
