"""An association is made, changed and deleted while pods run."""

import json

from conformance.harness.basics import check

from .. import pods

NAMESPACE = "associations"
PYTHON = pods.images.ROOT / "conformance/.cache/boto3/venv/bin/python"
# The role that STS knows the credentials by.
ROLE = "import boto3; print(boto3.client('sts', endpoint_url='{}').get_caller_identity()['Arn'])"


def run(cluster, report):
    api, aws = cluster.api, cluster.aws
    role = [PYTHON, "-c", ROLE.format(aws.eks.endpoint)]
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
            told = "404" in done.stdout and "no service account role association" in done.stdout
            check(told, done.stdout + done.stderr)
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
    return [PYTHON, "-c", program]
