"""What pods come as: Deployment, StatefulSet, Job, init containers, sidecars, ephemeral containers."""

import json

from conformance.harness.basics import check

from .. import pods
from ..api import Failed, wait_for

NAMESPACE = "workloads"
BOTO3 = pods.client("boto3")
TOKEN = "eks-pod-identity-token"


def run(cluster, report):
    api, aws = cluster.api, cluster.aws
    with report.group("workloads"):
        pods.namespace(api, NAMESPACE, "app")
        aws.associate(NAMESPACE, "app")
        for made in (deployment(), stateful_set(), job(), stages()):
            api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(made))
        for kind, wanted in [("Deployment", 2), ("StatefulSet", 2)]:
            with report.case(f"{kind}: each pod has credentials of its own"):
                for name in running(api, f"kind={kind}", wanted):
                    is_minted(aws, name, pods.execute(api, NAMESPACE, name, BOTO3))
        with report.case("Job: its pod gets credentials and ends"):
            name = wait_for("the job's pod", lambda: api.pods(NAMESPACE, "kind=Job"))[0]["metadata"]["name"]
            phase, key = pods.wait_until_done(api, NAMESPACE, name)
            check(phase == "Succeeded", key)
            is_minted(aws, name, key)
        with report.case("init container, native sidecar and container all get credentials"):
            pods.wait_until_ready(api, NAMESPACE, "stages")
            is_minted(aws, "stages", log(api, "first"))
            for container in ("beside", "app"):
                is_minted(aws, "stages", pods.execute(api, NAMESPACE, "stages", BOTO3, container))
        with report.case("ephemeral container: gets credentials with the pod's volume and variables"):
            is_minted(aws, "stages", ephemeral(api))


def is_minted(aws, pod, key):
    minted = aws.minted(NAMESPACE, pod)
    check(key in minted, f"{pod} printed {key!r}, minted {minted}")


def running(api, selector, wanted):
    def ready():
        found = api.pods(NAMESPACE, selector)
        good = [it for it in found if pods.is_ready(it)]
        if len(good) != wanted:
            raise Failed("; ".join(map(pods.state, found)))
        return [it["metadata"]["name"] for it in good]

    return wait_for(f"{wanted} pods of {selector}", ready)


def of_pods(kind, version, **spec):
    restart = {"restartPolicy": "Never"} if kind == "Job" else {}
    command = BOTO3 if kind == "Job" else pods.SLEEP
    selector = {} if kind == "Job" else {"selector": {"matchLabels": {"kind": kind}}}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": kind.lower()},
        "spec": spec | selector | {
            "template": {"metadata": {"labels": {"kind": kind}}, "spec": pods.template("app", command, **restart)},
        },
    }


def deployment():
    return of_pods("Deployment", "apps/v1", replicas=2)


def stateful_set():
    return of_pods("StatefulSet", "apps/v1", replicas=2, serviceName="", podManagementPolicy="Parallel")


def job():
    return of_pods("Job", "batch/v1", backoffLimit=0)


def stages():
    first, beside = pods.container("first", BOTO3), pods.container("beside", restartPolicy="Always")
    return pods.pod("stages", "app", initContainers=[first, beside])


def ephemeral(api):
    """The webhook is not asked for these, so they take from the pod what it put there."""
    found = api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/stages")
    app = found["spec"]["containers"][0]
    added = pods.container("debug", BOTO3) | {key: app[key] for key in ("env", "volumeMounts")}
    status, answer = api.request(
        "PATCH", f"/api/v1/namespaces/{NAMESPACE}/pods/stages/ephemeralcontainers",
        {"spec": {"ephemeralContainers": [added]}}, "application/strategic-merge-patch+json",
    )
    check(status == 200, answer)

    def ended():
        status = api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/stages")["status"]
        statuses = status.get("ephemeralContainerStatuses", [])
        if not any("terminated" in it["state"] for it in statuses):
            raise Failed(str([it["state"] for it in statuses]))
        return True

    wait_for("the ephemeral container", ended)
    return log(api, "debug")


def log(api, container):
    return api.kubectl("logs", "stages", "--namespace", NAMESPACE, "--container", container).strip()
