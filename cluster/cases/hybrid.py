"""The DaemonSet of hybrid nodes, with the node's credentials in a file that is renewed."""

import json
import pathlib

from conformance.harness.basics import check

from .. import pods
from ..api import wait_for
from ..cluster import RELEASE
from .install import is_available

NAMESPACE = "hybrid"
KIND = "eks.amazonaws.com/compute-type"
CREDENTIALS = pathlib.Path("/eks-hybrid/.aws/credentials")


def run(cluster, report):
    api, ready = cluster.api, cluster.aws.eks.ready
    node = f"/api/v1/nodes/{cluster.node.name}"
    with report.group("hybrid"):
        pods.namespace(api, NAMESPACE, "app")
        cluster.aws.associate(NAMESPACE, "app")
        write(ready["access_key_id"], ready["secret_access_key"])
        api.patch(node, {"metadata": {"labels": {KIND: "hybrid"}}})
        cluster.install(
            daemonsets={"cloud": {"create": True}, "hybrid": {"create": True}, "hybrid-bottlerocket": {"create": True}},
            env={"AWS_REGION": ready["region"]},
        )
        with report.case("a hybrid node gets the hybrid DaemonSet, and no other"):
            wait_for("the hybrid agent", lambda: is_available(api, f"{RELEASE}-hybrid"), 90)
            wait_for("the other agents to go", lambda: len(agents(api)) == 1)
            check(agents(api)[0].startswith(f"{RELEASE}-hybrid-"), str(agents(api)))
        with report.case("its pods get credentials through the node's file"):
            api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(pods.pod("app", "app")))
            pods.wait_until_ready(api, NAMESPACE, "app")
            key = pods.execute(api, NAMESPACE, "app", pods.client("boto3"))
            check(key in cluster.aws.minted(NAMESPACE, "app"), key)
        api.patch(node, {"metadata": {"labels": {KIND: None}}})
        cluster.install()
        wait_for("the cloud agent", lambda: is_available(api, RELEASE), 90)


def write(key, secret):
    CREDENTIALS.parent.mkdir(parents=True, exist_ok=True)
    CREDENTIALS.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")


def agents(api):
    found = api.pods("kube-system", f"app.kubernetes.io/instance={RELEASE}")
    return [it["metadata"]["name"] for it in found]
