"""Mocks of Amazon EKS Pod Identity for tests in Python. Each is a process of the program `pod-identity-testkit`.

    from pod_identity_testkit import pod_identity_agent  # in conftest.py, unless the package is installed

    def test_an_outage_goes_unnoticed(pod_identity_agent):
        pod_identity_agent.fault(status=503, count=2)
        credentials = boto3.Session().get_credentials()
        assert len(pod_identity_agent.requests()) == 3

It needs Python 3.9. The program is that of the environment variable POD_IDENTITY_TESTKIT, else the one that
is installed with this module, else the one in PATH.
"""

import atexit
import json
import os
import shutil
import subprocess
import sysconfig
import threading
import urllib.error
import urllib.parse
import urllib.request
import weakref

try:
    import pytest
except ImportError:  # Without pytest there is `Mock`, and no fixture.
    pytest = None

__all__ = ["Mock", "pod_identity_agent"]

_PROGRAM = "pod-identity-testkit"
_REMEDY = (
    "pip install pod-identity-testkit, or cargo install pod-identity-testkit --features program,webhook, "
    "or set POD_IDENTITY_TESTKIT to its path"
)
# Mocks that are not closed. The program ends by itself when this process does; this closes them before, so
# that their temporary files are gone when the interpreter is.
_running = weakref.WeakSet()


class Mock:
    """A mock in a process of its own: `agent` (a pod's node agent), `eks` (the AWS side), or `webhook`.

    `ready` is the program's ready line. `endpoint` is its URL and `token_file` the path of the pod's token,
    or None for a mock without one. `env` is a whole environment for a child process: that of this process,
    with the mock in it, and without what an SDK would use instead of the mock.

    `scenario` is the path of a scenario file. `timeout` is how many seconds to wait for the ready line.

    The process ends with `close`, at the end of a `with`, at the exit of the interpreter, and when the
    interpreter is killed. The end of a `with` also verifies, unless the test is failing already.
    """

    def __init__(self, kind="agent", *arguments, scenario=None, program=None, timeout=30):
        program = program or _find_program()
        if scenario is not None:
            arguments += ("--scenario", os.fspath(scenario))
        try:
            # The program ends at the end of its standard input, which the kernel closes whatever happens here.
            self._process = subprocess.Popen(
                [program, kind, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        except FileNotFoundError as error:
            raise RuntimeError(f"{program} is not there: {_REMEDY}") from error
        try:
            self.ready = self._read_ready_line(f"{program} {kind}", timeout)
            self.endpoint = self.ready["endpoint"]
            self.token_file = self.ready.get("token_file")
            self.unset = self.ready.get("unset", [])
            kept = {name: value for name, value in os.environ.items() if name not in self.unset}
            self.env = {**kept, **self.ready.get("env", {})}
        except BaseException:
            self.close()
            raise
        _running.add(self)

    def fault(self, **fault):
        """Injects a fault, such as `status=503, count=2` or `latency="250ms", until="back"`."""
        self._call("POST", "/faults", fault)

    def clear_faults(self):
        """Removes every fault, also those that have not begun."""
        self._call("DELETE", "/faults")

    def expect(self, **expectations):
        """Adds what is to be true of all requests, such as `times=2, single_flight=True`; `verify` checks it."""
        self._call("POST", "/expectations", expectations)

    def verify(self):
        """Raises AssertionError if an expectation is not met, or a fault met no request and is not `optional`."""
        failures = self._call("POST", "/verify")["failures"]
        if failures:
            raise AssertionError("; ".join(failures))

    def wait(self, seconds=10, **wanted):
        """Waits for `requests=3`, `answers=3` or `idle=True`; raises TimeoutError after so many seconds."""
        try:
            self._call("POST", "/wait", {**wanted, "within": f"{round(seconds * 1000)}ms"}, timeout=seconds + 30)
        except _Refused as error:
            if error.status != 408:
                raise
            raise TimeoutError(str(error)) from None

    def release(self, gate):
        """Opens the gate that faults name in `until`."""
        self._call("POST", "/gates/" + urllib.parse.quote(gate, safe=""))

    def requests(self):
        """Returns the requests since the start or the last reset, without secrets."""
        return self._call("GET", "/requests")["requests"]

    def rotate(self):
        """Replaces the token in the token file, as kubelet does."""
        self._call("POST", "/rotate")

    def advance(self, seconds):
        """Moves the mock's clock, and applies what the scenario has until then."""
        self._call("POST", "/clock", {"advance_seconds": seconds})

    def reset(self):
        """Removes faults, expectations and requests, returns to the system's time, renews the token, restarts the scenario."""
        self._call("POST", "/reset")

    def close(self):
        """Ends the process. Does nothing if it has ended."""
        _running.discard(self)
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _traceback):
        try:
            if kind is None and "admin" in self.ready:
                self.verify()
        finally:
            self.close()

    def _read_ready_line(self, name, timeout):
        lines = []
        reader = threading.Thread(
            target=lambda: lines.append(self._process.stdout.readline()), daemon=True
        )
        reader.start()
        reader.join(timeout)
        if reader.is_alive():
            # Otherwise closing the pipe would wait for the reader.
            self._process.kill()
            reader.join()
            raise RuntimeError(f"{name} was not ready within {timeout} s: see what it wrote to standard error")
        if not lines[0]:
            code = self._process.wait()
            raise RuntimeError(f"{name} ended with {code} before it was ready: see what it wrote to standard error")
        return json.loads(lines[0])

    def _call(self, method, path, body=None, timeout=30):
        admin = self.ready.get("admin")
        if admin is None:
            raise RuntimeError(f"a mock at {self.endpoint} has no admin endpoint")
        request = urllib.request.Request(
            admin["uri"] + path,
            method=method,
            headers={"Authorization": f"Bearer {admin['token']}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        # Not through a proxy, whatever the environment says.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise _Refused(error.code, json.load(error)["error"]) from None
        except OSError as error:
            raise RuntimeError(
                f"the mock at {self.endpoint} does not answer ({error}); it was closed, or has ended: "
                "see what it wrote to standard error"
            ) from error


class _Refused(ValueError):
    """What the admin endpoint has against a request."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


@atexit.register
def _close_all():
    for mock in list(_running):
        mock.close()


def _find_program():
    named = os.environ.get("POD_IDENTITY_TESTKIT")
    if named:
        return named
    # That of this virtual environment, whether it is activated or not.
    return shutil.which(_PROGRAM, path=sysconfig.get_path("scripts")) or _PROGRAM


if pytest is not None:

    @pytest.fixture
    def pod_identity_agent(monkeypatch):
        """A mock of the node agent, with the environment of this process as in a pod that uses it."""
        with Mock("agent") as mock:
            for name in mock.unset:
                monkeypatch.delenv(name, raising=False)
            for name, value in mock.ready["env"].items():
                monkeypatch.setenv(name, value)
            yield mock
