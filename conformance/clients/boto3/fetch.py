"""Prints the access key that boto3's default chain finds."""

import boto3

print(boto3.Session().get_credentials().access_key)
