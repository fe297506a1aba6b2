"""The chart takes over what the managed add-on leaves behind, by the ways of docs/migrating.md."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from conformance.harness.basics import check

from .. import pods
from ..api import Failed, wait_for
from ..cluster import RELEASE
from ..images import AGENT
from ..recipes import recipe
from .install import is_available
from .upgrades import DAEMONSET, is_answered, is_replaced

NAMESPACE = "migrating"
SERVICE = f"/api/v1/namespaces/kube-system/services/{RELEASE}"
SELECTOR = {"app.kubernetes.io/name": RELEASE, "app.kubernetes.io/instance": RELEASE}
SURGE = {"maxSurge": 1, "maxUnavailable": 0}
CANARY = "pod-identity-canary"
NO_SURGE = {"maxSurge": 0, "maxUnavailable": "10%"}
# What the add-on of these values has: a Service, too.
VALUES = {"metrics": {"enabled": True}}


def run(cluster, report):
    api = cluster.api
    with report.group("migrating"):
        pods.namespace(api, NAMESPACE, "app")
        cluster.aws.associate(NAMESPACE, "app")
        api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(pods.pod("app", "app")))
        pods.wait_until_ready(api, NAMESPACE, "app")
        with report.case("helm takes over what the add-on has left, and ends each old agent first"):
            add_on(cluster)
            shown = preview(cluster, "--take-ownership")
            check("-          httpGet:" in shown and "+          exec:" in shown, shown)
            cluster.install("--take-ownership", **VALUES)
            is_updated_by(api, NO_SURGE)
        with report.case("a second upgrade before the first is complete does so too; the next one surges"):
            cluster.install(**VALUES, podAnnotations={"number": "2"})
            is_updated_by(api, NO_SURGE)
            wait_for("the agent to be replaced", lambda: is_replaced(api), 90)
            cluster.install(**VALUES, podAnnotations={"number": "3"})
            is_updated_by(api, SURGE)
            wait_for("the agent to be replaced", lambda: is_replaced(api), 90)
        with report.case("nothing of the old agent is left, and pods get credentials"):
            pod = api.get(DAEMONSET)["spec"]["template"]["spec"]
            [agent], [init] = pod["containers"], pod["initContainers"]
            check(not agent.get("ports") and not init.get("args"), f"{agent.get('ports')}, {init.get('args')}")
            labels = api.get(SERVICE)["metadata"]["labels"]
            check(labels["app.kubernetes.io/managed-by"] == "Helm", f"{labels}")
            key = pods.execute(api, NAMESPACE, "app", pods.client("boto3"))
            check(key in cluster.aws.minted(NAMESPACE, "app"), key)
        with report.case("kubectl takes it over, by client-side apply and in the name of the add-on"):
            add_on(cluster)
            rendered = manifest(cluster, "--take-ownership")
            for options in [(), ("--server-side", "--force-conflicts", "--field-manager", "eks")]:
                api.kubectl("apply", "--dry-run=server", *options, "-f", "-", text=rendered)
        with report.case("an update that surges beside the old agent stops, and without the surge it goes on"):
            rendered = rendered.replace("maxSurge: 0", "maxSurge: 1").replace("maxUnavailable: 10%", "maxUnavailable: 0")
            api.kubectl("apply", "-f", "-", text=rendered)
            is_updated_by(api, SURGE)
            wait_for("the new agent to say what it waits for", lambda: waits_for_another(api, RELEASE))
            cluster.install("--take-ownership", updateStrategy={"rollingUpdate": {"maxUnavailable": "10%"}}, **VALUES)
            wait_for("the agent to be replaced", lambda: is_replaced(api), 90)
            add_on(cluster)
        with report.case("the pods of a DaemonSet that was deleted without them are adopted, and replaced"):
            for words in ["--cascade=orphan", "pod-template-generation-", "delete service"]:
                api.kubectl(*recipe("migrating.md", words, name_of_the_DaemonSet=RELEASE))
            [orphan] = agents(api)
            check(not orphan["metadata"].get("ownerReferences"), "it has an owner")
            cluster.install(updateStrategy={"rollingUpdate": {"maxUnavailable": "10%"}})
            wait_for("the agent to be replaced", lambda: is_replaced(api), 90)
            check(agents(api)[0]["metadata"]["uid"] != orphan["metadata"]["uid"], "it is the same pod")
        with report.case("a canary waits beside the official agent, and listens when that has gone"):
            add_on(cluster)
            cluster.install(release=CANARY, nameOverride=CANARY, fullnameOverride=CANARY)
            wait_for("the canary to say what it waits for", lambda: waits_for_another(api, CANARY))
            check(is_available(api, RELEASE), "the official agent")
            keep_away(cluster)
            wait_for("the official agent to be gone", lambda: not agents(api))
            wait_for("the canary", lambda: is_available(api, CANARY), 60)
        with report.case("the release shares the addresses with the canary, whose end no request notices"):
            cluster.install("--take-ownership")
            wait_for("the agent", lambda: is_available(api, RELEASE), 90)
            check(is_available(api, CANARY), "the canary")
            check(requests_of(cluster, uninstall) > 20, "it was not asked")
        cluster.install()
        wait_for("the agent to be replaced", lambda: is_replaced(api), 90)


def add_on(cluster):
    """What EKS applies, in the shape of its add-on, with an agent that shares its addresses with nobody: this one,
    which takes the official one's command line."""
    api, ready = cluster.api, cluster.aws.eks.ready
    cluster.helm("uninstall", RELEASE)
    wait_for("the agent to be gone", lambda: not agents(api))
    probe = {"host": "localhost", "port": "probes-port", "scheme": "HTTP"}
    variables = {
        "AWS_REGION": ready["region"],
        "AWS_ENDPOINT_URL_EKS_AUTH": cluster.aws.eks.endpoint,
        "AWS_ACCESS_KEY_ID": ready["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": ready["secret_access_key"],
    }
    init = {
        "name": "eks-pod-identity-agent-init",
        "image": AGENT,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/go-runner", "/eks-pod-identity-agent", "initialize"],
        "args": ["-v", "trace"],
        "securityContext": {"privileged": True},
    }
    agent = {
        "name": "eks-pod-identity-agent",
        "image": AGENT,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/go-runner", "/eks-pod-identity-agent", "server"],
        "args": ["--port", "80", "--cluster-name", ready["cluster"], "--probe-port", "2703", "-v", "trace"],
        "ports": [
            {"name": "proxy", "containerPort": 80, "protocol": "TCP"},
            {"name": "probes-port", "containerPort": 2703, "protocol": "TCP"},
        ],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "securityContext": {"capabilities": {"add": ["CAP_NET_BIND_SERVICE"]}},
        "livenessProbe": {"httpGet": {"path": "/healthz"} | probe, "initialDelaySeconds": 30, "timeoutSeconds": 10},
        "readinessProbe": {
            "httpGet": {"path": "/readyz"} | probe,
            "initialDelaySeconds": 1,
            "timeoutSeconds": 10,
            "failureThreshold": 30,
        },
    }
    pod = {
        "hostNetwork": True,
        "priorityClassName": "system-node-critical",
        "automountServiceAccountToken": False,
        "tolerations": [{"operator": "Exists"}],
        "initContainers": [init],
        "containers": [agent],
    }
    metadata = {"name": RELEASE, "namespace": "kube-system", "labels": SELECTOR | {"app.kubernetes.io/managed-by": "EKS"}}
    daemonset = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata,
        "spec": {
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
            "selector": {"matchLabels": SELECTOR},
            "template": {"metadata": {"labels": SELECTOR}, "spec": pod},
        },
    }
    ports = [{"name": "metrics", "port": 2705, "targetPort": 2705}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": SELECTOR, "ports": ports}}
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [daemonset, service]})
    api.kubectl("apply", "--server-side", "--field-manager", "eks", "-f", "-", text=text)
    wait_for("the add-on's agent", lambda: is_available(api, RELEASE), 90)


def manifest(cluster, *options):
    """What helm would install, as it finds the cluster."""
    return json.loads(cluster.install("--dry-run=server", "--output", "json", *options, **VALUES))["manifest"]


def preview(cluster, *options):
    done = cluster.api.kubectl("diff", "-f", "-", text=manifest(cluster, *options), fails=True)
    if done.returncode != 1:
        raise Failed(f"kubectl diff ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def waits_for_another(api, release):
    """Whether the newest agent is not ready because of another that does not share: by the recipe of the page."""
    newest = max(agents(api, release), key=lambda it: it["metadata"]["creationTimestamp"])["metadata"]["name"]
    done = api.kubectl(*recipe("operating.md", "probe readyz", agent_pod=newest), fails=True)
    if "does not share it" not in done.stdout + done.stderr:
        raise Failed(f"{newest}: {done.stdout}{done.stderr}")
    return True


def uninstall(cluster):
    cluster.helm("uninstall", CANARY)
    wait_for("the canary to be gone", lambda: not agents(cluster.api, CANARY))


def requests_of(cluster, change):
    """How many requests were answered during a change: all that were made."""
    command = ["/bin/sh", "-c", "cat $AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
    token = pods.execute(cluster.api, NAMESPACE, "app", command)
    number = 0
    with ThreadPoolExecutor() as threads:
        changed = threads.submit(change, cluster)
        while not changed.done():
            check(is_answered(token), f"request {number} was not answered")
            number += 1
            time.sleep(0.005)
    changed.result()
    return number


def keep_away(cluster):
    """The affinity of the official agent, without this node."""
    terms = [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [cluster.node.name]},
    ]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    cluster.api.patch(DAEMONSET, {"spec": {"template": {"spec": {"affinity": {"nodeAffinity": required}}}}})


def is_updated_by(api, strategy):
    found = api.get(DAEMONSET)["spec"]["updateStrategy"]["rollingUpdate"]
    check(found == strategy, f"{found}, not {strategy}")


def agents(api, release=RELEASE):
    return api.pods("kube-system", f"app.kubernetes.io/instance={release}")
