"""`doctor` where operators run it: by the recipes of the pages, for what takes a cluster to be wrong."""

import json
import re
import socket
import time

from conformance.harness.basics import check

from .. import images, node, pods
from ..api import Failed, wait_for
from ..cluster import RELEASE
from ..recipes import recipe
from .install import is_available
from .upgrades import is_replaced
from .workloads import of_pods

NAMESPACE = "doctor"
TROUBLESHOOTING = "troubleshooting.md"
ADDRESS = "169.254.170.23"


def run(cluster, report):
    api, aws = cluster.api, cluster.aws
    with report.group("doctor"):
        # With keys, so that each step has something to find.
        cluster.install(tokenVerification={"enabled": True})
        wait_for("the agent to be replaced", lambda: is_replaced(api), 90)
        pods.namespace(api, NAMESPACE, "app", "late")
        association = aws.associate(NAMESPACE, "app")
        apply(api, pods.pod("app", "app"))
        apply(api, deployment())
        with report.case("a missing association is found and mended within five minutes"):
            began = time.monotonic()
            find_and_mend(cluster)
            took = time.monotonic() - began
            print(f"found and mended in {took:.0f} s", flush=True)
            check(took < 300, f"{took:.0f} s")
        pods.wait_until_ready(api, NAMESPACE, "app")
        with report.case("in a container with the program, copied: no fault"):
            kubectl(api, recipe(TROUBLESHOOTING, "kubectl cp", container="app", pod="app"), program=cluster.programs["agent"])
            is_told(in_pod(api), "no fault was found")
        with report.case("in the agent's container: no fault of the node, and keys from the API server"):
            is_told(on_node(api), "no fault was found", " from api-server")
        aws.dissociate(association, NAMESPACE, "app")
        with report.case("an association that was deleted under a running pod is told"):
            # The agent answers from its cache for hours: a new one has none.
            restart_agent(cluster)
            is_told(in_pod(api), "of the class association: no-association", "aws eks create-pod-identity-association")
        with report.case("a pod that sends the token to a proxy is told"):
            is_told(in_pod(api, "HTTP_PROXY=http://127.0.0.1:9"), "of the class network: proxied", "Add 169.254.170.23")
        with report.case("an address that the node has lost is told, in the pod and on the node"):
            without_address(cluster)
        with report.case("a node without its agent is told, in the pod and on the node, and whose port it is then"):
            without_agent(cluster)
        cluster.install()
        wait_for("the agent to be replaced", lambda: is_replaced(api), 90)


def find_and_mend(cluster):
    """What a new user does who knows only that the application gets no credentials."""
    api, aws = cluster.api, cluster.aws
    name = pod_of(api)
    done = pods.execute(api, NAMESPACE, name, pods.client("boto3"), fails=True)
    check(done.returncode != 0, f"printed {done.stdout!r}")
    told = is_told(beside(api, name), "of the class environment: no-environment",
                   "aws eks list-pod-identity-associations", "kubectl rollout restart")
    listed = aws.call("list-pod-identity-associations", "--namespace", NAMESPACE, "--service-account", "late")
    check(listed["associations"] == [], told)
    aws.associate(NAMESPACE, "late")
    kubectl(api, ["rollout", "restart", "deployment/deployment"])
    kubectl(api, ["rollout", "status", "deployment/deployment"])
    name = pod_of(api)
    is_told(beside(api, name), "no fault was found")
    key = pods.execute(api, NAMESPACE, name, pods.client("boto3"))
    check(key in aws.minted(NAMESPACE, name), key)


def without_address(cluster):
    node.ip("address", "delete", f"{ADDRESS}/32", "dev", node.LINK)
    # The kernel of the node refuses the packets, or it drops them: both are told with the command that goes on.
    said = is_told(in_pod(cluster.api), "of the class network: ", "doctor node")
    check("network: no-route" in said or "network: timed-out" in said, said)
    is_told(on_node(cluster.api), "of the class node: address-missing", "Delete the agent's pod on this node")
    restart_agent(cluster)
    is_told(on_node(cluster.api), "no fault was found")


def without_agent(cluster):
    api = cluster.api
    path = f"/apis/apps/v1/namespaces/kube-system/daemonsets/{RELEASE}"
    nowhere = {"spec": {"template": {"spec": {"nodeSelector": {"pod-identity.test/agent": "none"}}}}}
    before = api.get(path)["spec"]["template"]["spec"].get("nodeSelector") or {}
    api.patch(path, nowhere)
    try:
        wait_for("the agent to be gone", lambda: not agents(api))
        is_told(in_pod(api), "of the class network: refused")
        is_told(on_bare_node(cluster), "of the class node: not-listening")
        with socket.create_server((ADDRESS, 80)):
            is_told(on_bare_node(cluster), "of the class node: port-taken", f"{ADDRESS}:80 is held by")
    finally:
        back = {key: None for key in nowhere["spec"]["template"]["spec"]["nodeSelector"]} | before
        api.patch(path, {"spec": {"template": {"spec": {"nodeSelector": back}}}})
        wait_for("the agent", lambda: is_available(api, RELEASE), 60)


def in_pod(api, *variables):
    command = recipe(TROUBLESHOOTING, "/tmp/pod-identity-agent doctor pod", container="app", pod="app")
    at = command.index("--") + 1
    return kubectl(api, [*command[:at], *(["/usr/bin/env", *variables] if variables else []), *command[at:]])


def beside(api, name):
    command = recipe("operating.md", "--process 1", pod=name, container="app", image_of_the_agent=images.AGENT)
    said = kubectl(api, local(command))
    container = re.search(r"debug container name to (\S+?)\.", said)[1]
    return ended(api, name, container)


def on_node(api):
    [agent] = agents(api)
    return kubectl(api, recipe("operating.md", "doctor node", agent_pod=agent))


def on_bare_node(cluster):
    command = recipe(TROUBLESHOOTING, "kubectl debug node/", node=cluster.node.name, image_of_the_agent=images.AGENT,
                     name=cluster.aws.eks.ready["cluster"])
    said = kubectl(cluster.api, local(command))
    return ended(cluster.api, re.search(r"Creating debugging pod (\S+) ", said)[1], "debugger")


def ended(api, name, container):
    """What a debug container has printed. `kubectl debug` shows it too, unless the container ends before it looks."""
    def has_ended():
        status = api.get(f"/api/v1/namespaces/{NAMESPACE}/pods/{name}")["status"]
        statuses = status.get("containerStatuses", []) + status.get("ephemeralContainerStatuses", [])
        if not any(it["name"] == container and "terminated" in it["state"] for it in statuses):
            raise Failed(str([(it["name"], it["state"]) for it in statuses]))
        return True

    wait_for(f"{container} of {name} to end", has_ended)
    return kubectl(api, ["logs", name, "--container", container])


def local(command):
    """No registry has the image."""
    return [command[0], "--image-pull-policy=Never", *command[1:]]


def kubectl(api, command, program=None):
    """What it prints, also where it ends with another code than 0, as `doctor` does at a fault."""
    where = [] if "--namespace" in command or "-n" in command else ["--namespace", NAMESPACE]
    words = [program if word == "pod-identity-agent" else word for word in command] if program else command
    done = api.kubectl(*where, *words, fails=True)
    return done.stdout + done.stderr


def is_told(said, *words):
    missing = [word for word in words if word not in said]
    check(not missing, f"{missing} not in:\n{said}")
    return said


def restart_agent(cluster):
    [old] = agents(cluster.api)
    cluster.api.delete(f"/api/v1/namespaces/kube-system/pods/{old}")
    wait_for("another agent", lambda: old not in agents(cluster.api) and is_available(cluster.api, RELEASE), 60)


def agents(api):
    return [it["metadata"]["name"] for it in api.pods("kube-system", f"app.kubernetes.io/instance={RELEASE}")]


def pod_of(api):
    def ready():
        found = [it for it in api.pods(NAMESPACE, "kind=Deployment") if not it["metadata"].get("deletionTimestamp")]
        if len(found) != 1 or not pods.is_ready(found[0]):
            raise Failed("; ".join(map(pods.state, found)))
        return found[0]["metadata"]["name"]

    return wait_for("one pod of the deployment", ready)


def deployment():
    made = of_pods("Deployment", "apps/v1", replicas=1)
    made["spec"]["template"]["spec"]["serviceAccountName"] = "late"
    return made


def apply(api, made):
    api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(made))
