"""kubelet rotates the token of a running pod, and the pod gets credentials for the new one."""

import json
import os
import time

from conformance.harness.basics import check

from .. import pods
from ..api import wait_for

NAMESPACE = "tokens"
# The shortest that Kubernetes allows.
LIFETIME = 600


def run(cluster, report):
    with report.case("kubelet, restarted, projects a new token, and the pod gets credentials for it"):
        # It holds the tokens in memory only. `rotation` waits until it renews one by its age.
        rotate(cluster, "restarted", lambda: restart_kubelet(cluster), 60)


def rotate(cluster, name, cause, limit):
    pods.namespace(cluster.api, NAMESPACE, "app")
    if not cluster.aws.minted(NAMESPACE):
        cluster.aws.associate(NAMESPACE, "app")
    made = pods.pod(name, "app", annotations={"eks.amazonaws.com/token-expiration": str(LIFETIME)})
    cluster.api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(made))
    pods.wait_until_ready(cluster.api, NAMESPACE, name)
    began, volume, key = time.monotonic(), read_volume(cluster, name), ask(cluster, name)
    cause()
    wait_for("kubelet to rotate the token", lambda: read_volume(cluster, name) != volume, limit)
    print(f"kubelet rotated the token after {time.monotonic() - began:.0f} s", flush=True)
    new = ask(cluster, name)
    check(new != key and new in cluster.aws.minted(NAMESPACE, name), f"{new}, {key} before")


def restart_kubelet(cluster):
    cluster.daemons.kill("kubelet")
    cluster.node.start_kubelet()


def ask(cluster, name):
    return pods.execute(cluster.api, NAMESPACE, name, pods.client("boto3"))


def read_volume(cluster, name):
    """Where kubelet's symbolic link leads, read on the node."""
    uid = cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{name}")["metadata"]["uid"]
    return os.readlink(f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~projected/eks-pod-identity-token/..data")
