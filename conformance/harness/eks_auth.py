"""EKS Auth on loopback: AssumeRoleForPodIdentity, which can throttle. It believes every token."""

import base64
import hashlib
import http.server
import json
import threading
import time

CLUSTER = "conformance"
PATH = f"/clusters/{CLUSTER}/assume-role-for-pod-identity"
LIFETIME = 6 * 3600


class EksAuth:
    """Answers until the end of the block. What it was asked is in `asked`, as (time, token, status)."""

    def __init__(self):
        self.asked = []
        self._throttle_for = 0
        self._throttle_until = 0
        self._lock = threading.Lock()

    def __enter__(self):
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error):
        self._server.shutdown()
        self._server.server_close()

    def throttle(self, seconds):
        """Refuses everybody for so long, from the next exchange on."""
        with self._lock:
            self._throttle_for = seconds

    def statuses(self, token):
        return [status for _time, asked, status in self.asked if asked == token]

    def exchange(self, path, authorization, body):
        """The status, the error code if it is one, and the body."""
        token = body.get("token", "")
        if path != PATH or "/eks-auth/aws4_request" not in authorization:
            status, code = 400, "InvalidRequestException"
        elif self._throttles():
            status, code = 429, "ThrottlingException"
        else:
            status, code = 200, None
        self.asked.append((time.monotonic(), token, status))
        return status, code, {"message": "Refused by the test"} if code else issued(token)

    def _throttles(self):
        now = time.monotonic()
        with self._lock:
            if self._throttle_for:
                self._throttle_until, self._throttle_for = now + self._throttle_for, 0
            return now < self._throttle_until


def key_of(token):
    """The access key that this token gets: another one for each."""
    return "ASIA" + base64.b32encode(hashlib.sha256(token.encode()).digest()).decode()[:16]


def secrets_of(token):
    return [token, f"secret-of-{key_of(token)}", f"session-of-{key_of(token)}"]


def issued(token):
    _token, secret, session = secrets_of(token)
    association = f"arn:aws:eks:us-west-2:111122223333:podidentityassociation/{CLUSTER}/a-conformance0000000"
    return {
        "subject": {"namespace": "default", "serviceAccount": "conformance"},
        "audience": "pods.eks.amazonaws.com",
        "podIdentityAssociation": {
            "associationArn": association,
            "associationId": "a-conformance0000000",
        },
        "assumedRoleUser": {
            "arn": "arn:aws:sts::111122223333:assumed-role/conformance/eks-conformance",
            "assumeRoleId": "AROACONFORMANCE00000:eks-conformance",
        },
        "credentials": {
            "accessKeyId": key_of(token),
            "secretAccessKey": secret,
            "sessionToken": session,
            "expiration": int(time.time()) + LIFETIME,
        },
    }


def handler(eks_auth):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            signature = self.headers.get("Authorization", "")
            status, code, answer = eks_auth.exchange(self.path, signature, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("x-amzn-RequestId", "00000000-0000-0000-0000-000000000000")
            if code:
                self.send_header("x-amzn-ErrorType", code)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_ignored):
            pass

    return Handler
