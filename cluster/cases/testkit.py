"""The testkit's chart makes a cluster that is not EKS's behave as one: with the mock's credentials, then with those
of an account, which is moto's."""

import json

from conformance.harness.basics import check, tail

from .. import images, moto_server, pods, proxy
from ..api import Failed, run as execute, wait_for
from ..aws import AWS
from ..images import ROOT
from ..isolation import WORK
from .install import is_available

CHART = ROOT / "deploy/charts/pod-identity-testkit"
RELEASE = "testkit"
NAMESPACE = "emulated"
# No proxy and no DNS lead to a Service here.
ADDRESS = "10.98.0.50"
ENDPOINT = f"http://{ADDRESS}:8080"
READER = f"arn:aws:iam::{moto_server.ACCOUNT}:role/reader"
AGENT = "eks-pod-identity-agent"


def run(cluster, report):
    api = cluster.api
    with report.group("testkit"):
        pods.namespace(api, NAMESPACE, "listed", "made", "none")
        key = moto_server.start(cluster.daemons, cluster.programs["moto"])
        install(cluster, associations=[association("listed", "arn:aws:iam::111122223333:role/mock")])
        with proxy.forward(api, "kube-system", "pod-identity-eks", "pod-identity-webhook"):
            with report.case("helm installs the chart: the webhook, EKS Auth and the agent are ready"):
                wait_until_ready(api)
            with report.case("a pod of the ConfigMap's association has its role, by the mock's STS"):
                arn = ends_well(api, "mock", "listed", *identity(ENDPOINT))
                check(":assumed-role/mock/eks-test-cluster-mock" in arn, arn)
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "account", "namespace": "kube-system"}}
            api.apply(secret | {"stringData": key})
            with report.case("helm upgrades it to grant credentials of an account"):
                install(
                    cluster,
                    associations=[association("listed", READER)],
                    assumeRole={"enabled": True, "secret": "account"},
                    env={"AWS_ENDPOINT_URL_STS": moto_server.ENDPOINT},
                )
                wait_until_ready(api)
            with report.case("a pod's `aws s3 ls` lists the account's buckets"):
                listed = ends_well(api, "listed", "listed", AWS, *BUCKETS)
                check(listed.endswith(" orders"), listed)
            with report.case("a pod that is associated through the API lists them, too"):
                create(cluster)
                listed = ends_well(api, "made", "made", AWS, *BUCKETS)
                check(listed.endswith(" orders"), listed)
            with report.case("its session is that of the role, by STS"):
                arn = ends_well(api, "session", "made", *identity(moto_server.ENDPOINT))
                check(f":{moto_server.ACCOUNT}:assumed-role/reader/eks-test-cluster-session" in arn, arn)
            with report.case("it may do no more than the role"):
                refused = ends(api, "more", "made", AWS, "s3", "mb", "s3://more", *BUCKETS[2:])
                check(refused[0] == "Failed" and "AccessDenied" in refused[1], str(refused))
            with report.case("a pod without an association has no credentials"):
                phase, said = ends(api, "none", "none", AWS, *BUCKETS)
                check(phase == "Failed" and "Unable to locate credentials" in said, f"{phase}: {said}")
        with report.case("helm uninstalls it"):
            cluster.helm("uninstall", RELEASE, "--wait")
            wait_for("its pods to be gone", lambda: not api.pods("kube-system", f"app.kubernetes.io/instance={RELEASE}"))
        cluster.daemons.kill("moto")


BUCKETS = ["s3", "ls", "--endpoint-url", moto_server.ENDPOINT]


def identity(endpoint):
    return [AWS, "sts", "get-caller-identity", "--query", "Arn", "--output", "text", "--endpoint-url", endpoint]


def install(cluster, **changes):
    values = {
        "image": {"testkit": images.TESTKIT, "pullPolicy": "Never"},
        "service": {"clusterIP": ADDRESS},
        "pod-identity-agent": {
            "image": {"override": images.AGENT, "pullPolicy": "Never"},
            "eksAuth": {"endpoint": ENDPOINT},
            "dnsPolicy": "",
        },
    }
    file = WORK / "testkit-values.json"
    file.write_text(json.dumps(values | changes))
    cluster.helm("upgrade", "--install", RELEASE, CHART, "--values", file)


def wait_until_ready(api):
    wait_for("the testkit", lambda: is_deployed(api), 90)
    wait_for("the agent", lambda: is_available(api, AGENT), 90)


def is_deployed(api):
    found = api.get("/apis/apps/v1/namespaces/kube-system/deployments/pod-identity-testkit")
    status, generation = found["status"], found["metadata"]["generation"]
    if status.get("observedGeneration") != generation or status.get("availableReplicas") != 1 or \
            status.get("updatedReplicas") != 1 or status.get("replicas") != 1:
        raise Failed(f"the Deployment is not available: {status}")
    return True


def association(service_account, role):
    return {"namespace": NAMESPACE, "service_account": service_account, "role_arn": role}


def create(cluster):
    """As a user does it, with the key that the mock expects."""
    environment = cluster.aws.eks.env | {"AWS_PAGER": "", "AWS_ENDPOINT_URL_EKS": ENDPOINT}
    done = execute(
        [AWS, "eks", "create-pod-identity-association", "--cluster-name", "test-cluster", "--namespace", NAMESPACE,
         "--service-account", "made", "--role-arn", READER],
        environment=environment,
    )
    check(done.returncode == 0, tail(done.stderr))


def ends_well(api, name, service_account, *command):
    phase, said = ends(api, name, service_account, *command)
    check(phase == "Succeeded", said)
    return said


def ends(api, name, service_account, *command):
    made = pods.pod(name, service_account, command, restartPolicy="Never")
    api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(made))
    return pods.wait_until_done(api, NAMESPACE, name)
