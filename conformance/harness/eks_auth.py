"""The AWS side of a cluster: `pod-identity-testkit eks`, which verifies signatures and tokens."""

import concurrent.futures
import contextlib
import hashlib
import sys
import time

from .basics import HERE, wait_for

sys.path.append(str(HERE.parent / "pod-identity-testkit" / "clients"))
from pod_identity_testkit import Mock  # noqa: E402


class EksAuth(Mock):
    def __init__(self, testkit):
        identity = ["--namespace", "default", "--service-account", "conformance"]
        role = "default/conformance=arn:aws:iam::111122223333:role/conformance"
        checked = ["--signatures", "enforce"]
        super().__init__("eks", *identity, "--associate", role, *checked, program=testkit)

    def statuses(self, token):
        return [outcome["status"] for outcome in self._outcomes(token)]

    def keys(self, token):
        """The access keys that were minted for this token."""
        keys = [outcome["access_key_id"] for outcome in self._outcomes(token)]
        return [key for key in keys if key]

    @contextlib.contextmanager
    def throttling(self, token, seconds):
        """Refuses everybody, until so long after the first exchange of this token."""
        self.fault(error="ThrottlingException", always=True)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            relenting = pool.submit(self._relent, token, seconds)
            yield
            relenting.result()

    def _relent(self, token, seconds):
        try:
            wait_for(lambda: self.statuses(token), "a first exchange")
            time.sleep(seconds)
        finally:
            self.clear_faults()

    def _outcomes(self, token):
        digest = hashlib.sha256(token.encode()).hexdigest()[:8]
        outcomes = [ask["outcome"] for ask in self.requests() if ask["token"] == digest]
        return [outcome for outcome in outcomes if outcome]
