#!/usr/bin/env python3
"""Drives the mock of EKS with boto3, unchanged: associations and their pages, add-ons, waiters, and a cluster.

Needs boto3, and the program of POD_IDENTITY_TESTKIT. Fails at the first answer that is not as expected.
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "clients"))

import boto3
from pod_identity_testkit import Mock

ROLE = "arn:aws:iam::111122223333:role/cart"
OTHER = "arn:aws:iam::111122223333:role/checkout"
# A waiter fails after minutes.
SOON = {"Delay": 1, "MaxAttempts": 20}


def main():
    with Mock("eks", "--signatures", "enforce") as mock:
        os.environ.clear()
        os.environ.update(mock.env)
        os.environ.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull, NO_PROXY="127.0.0.1")
        eks = boto3.client("eks")
        cluster = mock.ready["cluster"]
        manages_associations(eks, cluster)
        manages_an_addon(eks, cluster)
    print(f"boto3 {boto3.__version__} gets what it expects")


def manages_associations(eks, cluster):
    eks.get_waiter("cluster_active").wait(name=cluster, WaiterConfig=SOON)
    assert eks.list_clusters()["clusters"] == [cluster]
    described = eks.describe_cluster(name=cluster)["cluster"]
    assert described["identity"]["oidc"]["issuer"].startswith("https://")

    accounts = {}
    for account in ["cart", "basket", "till"]:
        created = eks.create_pod_identity_association(
            clusterName=cluster, namespace="shop", serviceAccount=account, roleArn=ROLE, tags={"team": "web"}
        )
        accounts[account] = created["association"]["associationId"]
    taken = refusal(
        eks.create_pod_identity_association, clusterName=cluster, namespace="shop", serviceAccount="cart", roleArn=ROLE
    )
    assert taken == "ResourceInUseException", taken
    pages = eks.get_paginator("list_pod_identity_associations").paginate(
        clusterName=cluster, PaginationConfig={"PageSize": 2}
    )
    listed = [[item["serviceAccount"] for item in page["associations"]] for page in pages]
    assert [len(page) for page in listed] == [2, 1], listed
    assert set(sum(listed, [])) == set(accounts), listed

    cart = {"clusterName": cluster, "associationId": accounts["cart"]}
    eks.update_pod_identity_association(**cart, roleArn=OTHER)
    association = eks.describe_pod_identity_association(**cart)["association"]
    assert (association["roleArn"], association["tags"]) == (OTHER, {"team": "web"}), association
    arn = association["associationArn"]
    eks.tag_resource(resourceArn=arn, tags={"stage": "prod"})
    eks.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"stage": "prod"}

    for association_id in accounts.values():
        eks.delete_pod_identity_association(clusterName=cluster, associationId=association_id)
    gone = refusal(eks.describe_pod_identity_association, **cart)
    assert gone == "ResourceNotFoundException", gone


def manages_an_addon(eks, cluster):
    addon = {"clusterName": cluster, "addonName": "vpc-cni"}
    created = eks.create_addon(**addon, podIdentityAssociations=[{"serviceAccount": "aws-node", "roleArn": ROLE}])
    assert len(created["addon"]["podIdentityAssociations"]) == 1, created
    eks.get_waiter("addon_active").wait(**addon, WaiterConfig=SOON)
    (owned,) = eks.list_pod_identity_associations(clusterName=cluster)["associations"]
    assert owned["serviceAccount"] == "aws-node" and "/vpc-cni/" in owned["ownerArn"], owned
    update = eks.update_addon(**addon, podIdentityAssociations=[{"serviceAccount": "aws-node", "roleArn": OTHER}])
    described = eks.describe_update(name=cluster, updateId=update["update"]["id"], addonName="vpc-cni")
    assert described["update"]["status"] == "Successful", described
    (owned,) = eks.list_pod_identity_associations(clusterName=cluster)["associations"]
    association = eks.describe_pod_identity_association(clusterName=cluster, associationId=owned["associationId"])
    assert association["association"]["roleArn"] == OTHER, association
    eks.delete_addon(**addon)
    eks.get_waiter("addon_deleted").wait(**addon, WaiterConfig=SOON)
    assert eks.list_pod_identity_associations(clusterName=cluster)["associations"] == []


def refusal(call, **arguments):
    """The code of the error with which the call fails."""
    try:
        return f"none: {call(**arguments)}"
    except boto3.client("eks").exceptions.ClientError as error:
        return error.response["Error"]["Code"]


if __name__ == "__main__":
    main()
