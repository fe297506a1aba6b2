"""Prints the access key that signs the requests of the AWS SDK for C++, which pyarrow holds."""

import os

from pyarrow.fs import S3FileSystem, S3LogLevel, initialize_s3
from harness.s3 import signer

# The SDK logs to standard output; here that is for the key alone.
stdout = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def ask(port):
    initialize_s3(S3LogLevel.Error)
    s3 = S3FileSystem(endpoint_override=f"127.0.0.1:{port}", scheme="http")
    s3.get_file_info("bucket/key")


print(signer(ask), file=stdout)
