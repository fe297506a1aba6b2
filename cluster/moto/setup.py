"""Makes a user, a role and a bucket in moto, and then has it check who may do what. Prints the user's key."""

import json
import sys
import urllib.request

import boto3


def main(endpoint):
    iam, s3 = client(endpoint, "iam"), client(endpoint, "s3")
    iam.create_user(UserName="testkit")
    iam.put_user_policy(UserName="testkit", PolicyName="testkit", PolicyDocument=policy("sts:AssumeRole"))
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}
    iam.create_role(RoleName="reader", AssumeRolePolicyDocument=document(trust))
    iam.put_role_policy(RoleName="reader", PolicyName="reader", PolicyDocument=policy("s3:ListAllMyBuckets"))
    s3.create_bucket(Bucket="orders", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    key = iam.create_access_key(UserName="testkit")["AccessKey"]
    checks = urllib.request.Request(f"{endpoint}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
    urllib.request.urlopen(checks, timeout=10).close()
    print(json.dumps({"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}))


def client(endpoint, service):
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    return boto3.client(service, endpoint_url=endpoint, region_name="us-west-2", **keys)


def policy(action):
    return document({"Effect": "Allow", "Action": action, "Resource": "*"})


def document(statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


if __name__ == "__main__":
    main(sys.argv[1])
