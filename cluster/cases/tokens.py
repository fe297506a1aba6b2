"""kubelet rotates the token of a running pod, and the pod gets credentials for the new one."""

import json
import os
import time

from conformance.harness.basics import check

from .. import pods
from ..api import wait_for

NAMESPACE = "tokens"
# The shortest that Kubernetes allows. kubelet renews at four fifths of it.
LIFETIME = 600


def begin(cluster):
    """Long before `run`, so that the other cases fill the time that the token's first life takes."""
    pods.namespace(cluster.api, NAMESPACE, "app")
    cluster.aws.associate(NAMESPACE, "app")
    made = pods.pod("rotated", "app", annotations={"eks.amazonaws.com/token-expiration": str(LIFETIME)})
    cluster.api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(made))
    pods.wait_until_ready(cluster.api, NAMESPACE, "rotated")
    cluster.first_token = ask(cluster), time.monotonic()


def run(cluster, report):
    with report.case("kubelet rotates a token of 600 s, and the pod gets credentials for the new one"):
        (key, volume), since = cluster.first_token
        left = max(0, LIFETIME - (time.monotonic() - since))
        wait_for("kubelet to rotate the token", lambda: read_volume(cluster) != volume, left)
        print(f"kubelet rotated the token after {time.monotonic() - since:.0f} s", flush=True)
        new, _ = ask(cluster)
        check(new != key, f"{key} again")
        check(new in cluster.aws.minted(NAMESPACE, "rotated"), f"{new} was not minted")


def ask(cluster):
    volume = read_volume(cluster)
    return pods.execute(cluster.api, NAMESPACE, "rotated", pods.client("boto3")), volume


def read_volume(cluster):
    """Where kubelet's symbolic link leads, read on the node."""
    uid = cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/rotated")["metadata"]["uid"]
    return os.readlink(f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~projected/eks-pod-identity-token/..data")
