"""The API server, asked directly; kubectl takes most of a second of the processor each time."""

import http.client
import json
import os
import ssl
import subprocess
import time

from .isolation import WORK

ADDRESS = "10.98.0.1"
LIMIT = 60


class Failed(Exception):
    """What was seen, in words."""


class Api:
    def __init__(self, programs, credentials):
        self.programs = programs
        self.kubeconfig = WORK / "admin.conf"
        self.context = ssl.create_default_context(cafile=credentials / "ca.crt")
        self.context.load_cert_chain(credentials / "admin.crt", credentials / "admin.key")

    def get(self, path):
        """None where there is nothing."""
        status, body = self.request("GET", path)
        if status == 404:
            return None
        if status != 200:
            raise Failed(f"GET {path}: {status} {body[:300]}")
        return json.loads(body)

    def request(self, method, path, body=None, kind="application/json"):
        connection = http.client.HTTPSConnection(ADDRESS, 443, timeout=LIMIT, context=self.context)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def patch(self, path, body):
        status, answer = self.request("PATCH", path, body, "application/strategic-merge-patch+json")
        if status != 200:
            raise Failed(f"PATCH {path}: {status} {answer[:300]}")

    def delete(self, path):
        status, answer = self.request("DELETE", path, {"propagationPolicy": "Background"})
        if status not in (200, 202, 404):
            raise Failed(f"DELETE {path}: {status} {answer[:300]}")

    def pods(self, namespace, selector=""):
        query = f"?labelSelector={selector.replace('=', '%3D')}" if selector else ""
        return self.get(f"/api/v1/namespaces/{namespace}/pods{query}")["items"]

    def kubectl(self, *arguments, text=None, limit=LIMIT, fails=False):
        """Its standard output; with `fails`, the whole outcome of a command that may fail."""
        command = [self.programs["kubectl"], "--kubeconfig", self.kubeconfig, *arguments]
        done = run(command, text=text, limit=limit)
        if fails:
            return done
        if done.returncode:
            raise Failed(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *manifests):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        self.kubectl("apply", "-f", "-", text=text)


def run(command, *, text=None, limit=LIMIT, environment=None):
    try:
        return subprocess.run(
            [str(word) for word in command],
            input=text,
            # Nothing of the caller's configuration.
            env=environment or {"PATH": os.environ["PATH"], "HOME": str(WORK / "home")},
            capture_output=True,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]} has not ended within {limit} s: {' '.join(map(str, command))}") from None


def wait_for(what, condition, limit=LIMIT):
    """What the condition returns once it is true. What it says otherwise, as an exception, is reported."""
    deadline = time.monotonic() + limit
    seen = "nothing"
    while True:
        try:
            if found := condition():
                return found
        except (Failed, OSError, http.client.HTTPException) as error:
            seen = str(error)
        if time.monotonic() > deadline:
            raise Failed(f"waited {limit} s for {what}; last seen: {seen}")
        time.sleep(0.1)
