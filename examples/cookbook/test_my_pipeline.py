import subprocess

import boto3
from pod_identity_testkit import Mock


def test_the_pipeline_can_be_run_again():
    with Mock("eks", "--signatures", "enforce") as aws:
        cluster = aws.ready["cluster"]
        for role in ("cart", "cart", "checkout"):
            arn = f"arn:aws:iam::111122223333:role/{role}"
            command = ["./associate.sh", cluster, "shop", "cart", arn]
            subprocess.run(command, env=aws.env, check=True)
        names = ["access_key_id", "secret_access_key"]
        keys = {f"aws_{name}": aws.ready[name] for name in names}
        eks = boto3.Session(region_name=aws.ready["region"], **keys).client("eks", endpoint_url=aws.endpoint)
        (only,) = eks.list_pod_identity_associations(clusterName=cluster)["associations"]
        answer = eks.describe_pod_identity_association(
            clusterName=cluster, associationId=only["associationId"]
        )
        assert answer["association"]["roleArn"].endswith("role/checkout")
