"""Prints the access key that the default chain of the Common Runtime finds."""

import sys

from awscrt.auth import AwsCredentialsProvider

try:
    print(AwsCredentialsProvider.new_default_chain().get_credentials().result().access_key_id)
except Exception as error:
    sys.exit(str(error))
