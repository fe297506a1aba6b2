"""Prints the access key that signs the requests of OpenDAL."""

import sys

from opendal import Operator
from harness.s3 import signer


def ask(port):
    store = Operator("s3", bucket="bucket", endpoint=f"http://127.0.0.1:{port}")
    try:
        store.stat("key")
    except Exception as error:
        sys.exit(str(error).partition("\n\nBacktrace:")[0])


print(signer(ask))
