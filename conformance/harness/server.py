"""`pod-identity-agent server` as on a node, and a pod there."""

import os
import socket
import subprocess

from .basics import CACHE, LOG, TOKEN_FILE, URI, check, end, tail, wait_for
from .namespace import IPV4, IPV6
from .pod import Pod


class Server:
    """The agent with the official flags and ports, ended with the block. Its own credentials are in its
    environment."""

    def __init__(self, agent, eks_auth):
        ready = eks_auth.ready
        flags = ["--cluster-name", ready["cluster"], "--endpoint", eks_auth.endpoint]
        self.command = [agent, "--verbosity", "trace", "server", *flags]
        self.log = LOG / "server.out"
        self.environment = {
            **without_aws(),
            "AWS_REGION": ready["region"],
            "AWS_ACCESS_KEY_ID": ready["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": ready["secret_access_key"],
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


class ServerPod(Pod):
    """A pod of the cluster with the environment that the webhook gives it, and the agent at this host."""

    def __init__(self, eks_auth, host):
        region = eks_auth.ready["region"]
        super().__init__(
            {
                **without_aws(),
                "AWS_STS_REGIONAL_ENDPOINTS": "regional",
                "AWS_DEFAULT_REGION": region,
                "AWS_REGION": region,
                URI: f"http://{host}/v1/credentials",
                TOKEN_FILE: eks_auth.token_file,
            }
        )


def without_aws():
    home = CACHE / "empty-home"
    home.mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return {**kept, "HOME": str(home)}
