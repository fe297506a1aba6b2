"""Mocks of Amazon EKS Pod Identity for tests in Python, by the program `pod-identity-testkit`.

    from pod_identity_testkit import pod_identity_agent  # in conftest.py

    def test_an_outage_goes_unnoticed(pod_identity_agent):
        pod_identity_agent.fault(status=503, count=2)
        credentials = boto3.Session().get_credentials()
        assert len(pod_identity_agent.requests()) == 3

Copy this file. It needs Python 3.9; the program is looked for in POD_IDENTITY_TESTKIT, else in PATH.
"""

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request

try:
    import pytest
except ImportError:  # without it there is `Mock`, and no fixture
    pytest = None


class Mock:
    """A mock in a process of its own: `agent` (a pod's node agent) or `eks` (the AWS side).

    `ready` is all that the program said, `endpoint` and `token_file` are from there. `env` is a whole
    environment for a child: ours, with the mock in it and nothing earlier in an SDK's chain.

    `scenario` is the path of a file with settings, faults, and what happens when.
    """

    def __init__(self, kind="agent", *arguments, scenario=None, program=None):
        program = program or os.environ.get("POD_IDENTITY_TESTKIT", "pod-identity-testkit")
        if scenario is not None:
            arguments += ("--scenario", os.fspath(scenario))
        try:
            self._process = subprocess.Popen(
                [program, kind, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            )
        except FileNotFoundError as error:
            raise RuntimeError(
                f"{program} is not there: cargo install pod-identity-testkit --features program, "
                "or say in POD_IDENTITY_TESTKIT where it is"
            ) from error
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"{program} {kind} ended with {code} before it was ready: see its message")
        self.ready = json.loads(line)
        self.endpoint = self.ready["endpoint"]
        self.token_file = self.ready["token_file"]
        self.unset = self.ready["unset"]
        kept = {name: value for name, value in os.environ.items() if name not in self.unset}
        self.env = {**kept, **self.ready["env"]}

    def fault(self, **order):
        """Orders a fault, such as `status=503, count=2` or `latency="250ms", until="back"`."""
        self._call("POST", "/faults", order)

    def clear_faults(self):
        self._call("DELETE", "/faults")

    def release(self, gate):
        """Opens the gate that faults have in `until`."""
        self._call("POST", "/gates/" + urllib.parse.quote(gate, safe=""))

    def requests(self):
        """What has arrived since the start or the last reset, without secrets."""
        return self._call("GET", "/requests")["requests"]

    def rotate(self):
        """Puts a new token into the token file, as kubelet does."""
        self._call("POST", "/rotate")

    def advance(self, seconds):
        """Moves the mock's clock, and does what the scenario has until then."""
        self._call("POST", "/clock", {"advance_seconds": seconds})

    def reset(self):
        """No faults, no requests, the system's time, a new token; a scenario begins anew."""
        self._call("POST", "/reset")

    def close(self):
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def _call(self, method, path, body=None):
        admin = self.ready["admin"]
        request = urllib.request.Request(
            admin["uri"] + path,
            method=method,
            headers={"Authorization": f"Bearer {admin['token']}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        # Not through a proxy, whatever the environment says.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from None


if pytest is not None:

    @pytest.fixture
    def pod_identity_agent(monkeypatch):
        """A mock of the node agent, with the environment of this process as in a pod of it."""
        with Mock("agent") as mock:
            for name in mock.unset:
                monkeypatch.delenv(name, raising=False)
            for name, value in mock.ready["env"].items():
                monkeypatch.setenv(name, value)
            yield mock
