"""The chart, installed by helm with this project's image."""

from ..api import Failed, wait_for
from ..cluster import RELEASE


def run(cluster, report):
    with report.case("helm installs the chart, and the agent is ready"):
        cluster.install()
        wait_for("the agent", lambda: is_available(cluster.api, RELEASE), 60)


def is_available(api, name):
    status = api.get(f"/apis/apps/v1/namespaces/kube-system/daemonsets/{name}")["status"]
    wanted, available = status["desiredNumberScheduled"], status.get("numberAvailable", 0)
    if not wanted or wanted != available or status.get("updatedNumberScheduled") != wanted:
        raise Failed(f"{available} of {wanted} pods of {name} are available: {status}")
    return True
