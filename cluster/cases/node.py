"""The node reboots: every container, the link and all that lives under /run are gone."""

import json

from conformance.harness.basics import check

from .. import node, pods
from ..api import Failed, wait_for
from ..cluster import RELEASE
from .install import is_available

NAMESPACE = "reboot"


def run(cluster, report):
    api = cluster.api
    with report.group("node"):
        pods.namespace(api, NAMESPACE, "app")
        cluster.aws.associate(NAMESPACE, "app")
        api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(pods.pod("app", "app")))
        pods.wait_until_ready(api, NAMESPACE, "app")
        before = pods.execute(api, NAMESPACE, "app", pods.client("boto3"))
        cluster.node.reboot()
        with report.case("after a reboot of the node the same pods are ready again"):
            wait_for("the pod's container to be another", lambda: restarts(api) > 0, 120)
            wait_for("the agent", lambda: is_available(api, RELEASE), 120)
            pods.wait_until_ready(api, NAMESPACE, "app", 120)
        with report.case("the link has its addresses, made by the init container"):
            addresses = node.ip("-brief", "address", "show", "dev", node.LINK)
            check("169.254.170.23/32" in addresses and "fd00:ec2::23/128" in addresses, addresses)
        with report.case("and the pod gets credentials"):
            key = pods.execute(api, NAMESPACE, "app", pods.client("boto3"))
            check(key in cluster.aws.minted(NAMESPACE, "app") and key != before, f"printed {key}, before {before}")


def restarts(api):
    found = api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/app")
    statuses = found["status"].get("containerStatuses", [])
    if not statuses:
        raise Failed(pods.state(found))
    return statuses[0]["restartCount"]
