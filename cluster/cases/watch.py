"""The agent takes the startup taint from its node, and follows which pods the node has."""

import json
import re
import urllib.request

from conformance.harness.basics import check

from .. import pods
from ..api import Failed, wait_for
from .upgrades import is_replaced

NAMESPACE = "watch"
TAINT = {"key": "eks.amazonaws.com/pod-identity-not-ready", "effect": "NoSchedule"}
METRICS = "http://127.0.0.1:2705/metrics"


def run(cluster, report):
    api = cluster.api
    with report.group("watch"):
        pods.namespace(api, NAMESPACE, "app")
        cluster.aws.associate(NAMESPACE, "app")
        at = f"/api/v1/nodes/{cluster.node.name}"
        # kubelet registers nodes with it; the agent that runs now is not told to take it away.
        api.patch(at, {"spec": {"taints": [TAINT]}})
        api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(pods.pod("app", "app")))
        with report.case("a pod waits for as long as its node has the startup taint"):
            wait_for("the pod to be unschedulable", lambda: is_unschedulable(api))
        cluster.install(
            serviceAccount={"create": True}, podLivenessCheck={"enabled": True}, startupTaint={"enabled": True},
        )
        with report.case("an agent that is ready takes it away, and the pod gets credentials"):
            wait_for("the agent to be replaced", lambda: is_replaced(api), 90)
            pods.wait_until_ready(api, NAMESPACE, "app")
            taints = api.get(at)["spec"].get("taints", [])
            check(TAINT["key"] not in [taint["key"] for taint in taints], str(taints))
            key = pods.execute(api, NAMESPACE, "app", pods.client("boto3"))
            check(key in cluster.aws.minted(NAMESPACE, "app"), key)
        with report.case("the agent knows which pods its node has, and that one is gone"):
            wait_for("the pods of the node in the agent's metrics", lambda: is_watched(api))
            api.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/app?gracePeriodSeconds=0")
            wait_for("one pod fewer", lambda: not exists(api) and is_watched(api))
        cluster.install()
        with report.case("the agent is replaced by one without a service account of its own"):
            wait_for("the agent to be replaced", lambda: is_replaced(api), 90)


def is_unschedulable(api):
    found = api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/app")
    conditions = found["status"].get("conditions", [])
    if not any(it.get("reason") == "Unschedulable" and TAINT["key"] in it.get("message", "") for it in conditions):
        raise Failed(f"{conditions}")
    return True


def exists(api):
    return api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/app") is not None


def is_watched(api):
    """Pods whose containers have all ended count as gone."""
    found = api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1")["items"]
    there = [it for it in found if it["status"]["phase"] not in ("Succeeded", "Failed")]
    watched = metric("pod_identity_watched_pods")
    if watched != len(there):
        raise Failed(f"{watched} of {len(there)} pods")
    return True


def metric(name):
    with urllib.request.urlopen(METRICS, timeout=5) as answer:
        text = answer.read().decode()
    return float(re.search(rf"^{name} (\S+)$", text, re.M)[1])
