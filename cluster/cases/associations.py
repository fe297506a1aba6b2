"""An association is made, changed and deleted while pods run."""

import json

from conformance.harness.basics import check

from .. import pods
from ..api import Failed, wait_for

NAMESPACE = "associations"
# The role that STS knows the credentials by.
ROLE = ["sh", "-c", "exec {venv}/bin/python -c \"$0\"".format(venv=pods.images.ROOT / "conformance/.cache/boto3/venv"),
        "import boto3; print(boto3.client('sts', endpoint_url='{endpoint}').get_caller_identity()['Arn'])"]


def run(cluster, report):
    api, aws = cluster.api, cluster.aws
    role = [word.replace("{endpoint}", aws.eks.endpoint) for word in ROLE]
    with report.group("associations"):
        pods.namespace(api, NAMESPACE, "app")
        start(api, "before")
        with report.case("a pod that is older than its association has no credentials"):
            done = pods.execute(api, NAMESPACE, "before", pods.client("boto3"), fails=True)
            check(done.returncode != 0, f"printed {done.stdout!r}")
        association = aws.associate(NAMESPACE, "app", "first")
        api.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/before?gracePeriodSeconds=0")
        start(api, "after")
        with report.case("a pod that is made after it has the association's role"):
            check("/first/" in pods.execute(api, NAMESPACE, "after", role), "another role")
        aws.change(association, "second")
        start(api, "changed")
        with report.case("after a change, a new pod has the new role"):
            got = pods.execute(api, NAMESPACE, "changed", role)
            check("/second/" in got, got)
        with report.case("and the old pod, whose credentials are cached, the old one"):
            got = pods.execute(api, NAMESPACE, "after", role)
            check("/first/" in got, got)
        start(api, "left")
        aws.dissociate(association, NAMESPACE, "app")
        with report.case("after it is deleted, a pod that was made before is told that there is none"):
            done = pods.execute(api, NAMESPACE, "left", ask_raw(), fails=True)
            check("404" in done.stdout and "no service account role association" in done.stdout, done.stdout + done.stderr)
        start(api, "without")
        with report.case("and a new pod has no variables"):
            done = pods.execute(api, NAMESPACE, "without", ["/usr/bin/env"])
            check("AWS_CONTAINER" not in done, done)


def start(api, name):
    api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(pods.pod(name, "app")))
    pods.wait_until_ready(api, NAMESPACE, name)


def ask_raw():
    program = (
        "import os, urllib.request, urllib.error\n"
        "token = open(os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE']).read()\n"
        "uri = os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI']\n"
        "try: print(urllib.request.urlopen(urllib.request.Request(uri, headers={'Authorization': token})).status)\n"
        "except urllib.error.HTTPError as error: print(error.code, error.read().decode())\n"
    )
    return [ROLE[2].split()[1], "-c", program]
