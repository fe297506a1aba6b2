"""Asks one session of boto3 for credentials, once for every line of standard input."""

import sys

import boto3
from botocore.exceptions import NoCredentialsError

session = boto3.Session()


def asked():
    credentials = session.get_credentials()
    if credentials is None:  # a client raises this when it signs
        raise NoCredentialsError
    frozen = credentials.get_frozen_credentials()
    for name, part in zip(["AccessKeyId", "SecretAccessKey", "Token"], frozen):
        if not isinstance(part, str) or not part:
            return f"without {name}"
    expiry = getattr(credentials, "_expiry_time", None)
    return f"key {frozen.access_key} {int(expiry.timestamp()) if expiry else 'never'}"


for _line in sys.stdin:
    try:
        answer = asked()
    except Exception as error:
        print(error, file=sys.stderr, flush=True)
        answer = f"failed {type(error).__name__}"
    print(answer, flush=True)
