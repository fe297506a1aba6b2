"""The AWS side of the cluster, by the testkit: EKS Auth with the cluster's own keys, and EKS's webhook."""

import base64
import json
import sys
from pathlib import Path

from .api import run
from .control_plane import CREDENTIALS, ISSUER, NODE_ADDRESS
from .isolation import WORK

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "pod-identity-testkit/clients"))
from pod_identity_testkit import Mock  # noqa: E402

AWS = ROOT / "conformance/.cache/aws-cli-v1/venv/bin/aws"
IDENTITIES = WORK / "identities.json"


class Aws:
    def __init__(self, testkit, api):
        keys = WORK / "keys.json"
        keys.write_text(json.dumps(api.get("/openid/v1/jwks")))
        self.identities = []
        self.write_identities()
        self.eks = Mock(
            "eks", "--bind", NODE_ADDRESS, "--port", "8090", "--issuer", ISSUER, "--jwks", str(keys),
            "--signatures", "enforce", program=testkit,
        )
        self.webhook = Mock(
            "webhook", "--port", "23443", "--identities-file", str(IDENTITIES), "--region", self.eks.ready["region"],
            "--cert", str(CREDENTIALS / "webhook.crt"), "--key", str(CREDENTIALS / "webhook.key"),
            "--sts-regional-endpoints", program=testkit,
        )
        api.apply(registration())

    def associate(self, namespace, service_account, role="app"):
        """As a user does it; returns the association's id. EKS tells its webhook."""
        arn = f"arn:aws:iam::111122223333:role/{role}"
        answer = self.call("create-pod-identity-association", "--namespace", namespace,
                           "--service-account", service_account, "--role-arn", arn)
        self.identities.append({"namespace": namespace, "serviceAccount": service_account})
        self.write_identities()
        return answer["association"]["associationId"]

    def change(self, association, role):
        self.call("update-pod-identity-association", "--association-id", association,
                  "--role-arn", f"arn:aws:iam::111122223333:role/{role}")

    def dissociate(self, association, namespace, service_account):
        self.call("delete-pod-identity-association", "--association-id", association)
        self.identities.remove({"namespace": namespace, "serviceAccount": service_account})
        self.write_identities()

    def write_identities(self):
        # The webhook may be reading the file.
        new = IDENTITIES.with_suffix(".new")
        new.write_text(json.dumps({"identities": self.identities}))
        new.rename(IDENTITIES)

    def call(self, *arguments):
        command = [AWS, "eks", *arguments, "--cluster-name", self.eks.ready["cluster"], "--output", "json"]
        done = run(command, environment=self.eks.env | {"AWS_PAGER": ""})
        if done.returncode:
            raise RuntimeError(f"aws eks {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def minted(self, namespace, pod=None):
        """The access keys that were minted for a pod's tokens, in their order."""
        asked = [ask for ask in self.eks.requests() if ask["pod"] and ask["pod"]["namespace"] == namespace]
        mine = [ask["outcome"] for ask in asked if pod in (None, ask["pod"]["name"])]
        return [outcome["access_key_id"] for outcome in mine if outcome and outcome.get("access_key_id")]

    def close(self):
        self.webhook.close()
        self.eks.close()


def registration():
    """As EKS registers it."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "pod-identity-webhook"},
        "webhooks": [{
            "name": "iam-for-pods.amazonaws.com",
            "admissionReviewVersions": ["v1beta1"],
            "clientConfig": {
                "url": "https://127.0.0.1:23443/mutate",
                "caBundle": base64.b64encode((CREDENTIALS / "ca.crt").read_bytes()).decode(),
            },
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "IfNeeded",
            "objectSelector": {"matchExpressions": [{
                "key": "eks.amazonaws.com/skip-pod-identity-webhook",
                "operator": "DoesNotExist",
            }]},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            "sideEffects": "None",
            "timeoutSeconds": 10,
        }],
    }
