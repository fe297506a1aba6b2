"""Clients in pods of their own."""

import json
from conformance.harness.basics import check, tail

from .. import pods

NAMESPACE = "clients"


def run(cluster, report):
    with report.group("clients"):
        pods.namespace(cluster.api, NAMESPACE, "app", "none")
        cluster.aws.associate(NAMESPACE, "app")
        names = [f"{client}-{family}" for family in ("ipv4", "ipv6") for client in pods.CLIENTS]
        for name in names:
            cluster.api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=manifest(name))
        for name in names:
            with report.case(f"{name}: gets credentials that EKS Auth minted for its pod"):
                phase, key = pods.wait_until_done(cluster.api, NAMESPACE, name)
                check(phase == "Succeeded", tail(key))
                minted = cluster.aws.minted(NAMESPACE, name)
                check(key in minted, f"printed {key!r}, minted {minted}")


def manifest(name):
    client, family = name.rsplit("-", 1)
    made = pods.pod(name, "app", pods.client(client), restartPolicy="Never")
    if family == "ipv6":
        made["spec"]["containers"][0]["env"] += [
            {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://[fd00:ec2::23]/v1/credentials"},
            {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
             "value": "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token"},
        ]
    return json.dumps(made)
