"""Prints the access key that signs the requests of object_store, which obstore holds."""

import sys

from obstore.exceptions import BaseError
from obstore.store import S3Store
from harness.s3 import signer


def ask(port):
    endpoint = f"http://127.0.0.1:{port}"
    store = S3Store("bucket", endpoint=endpoint, client_options={"allow_http": True})
    try:
        store.head("key")
    except BaseError as error:
        sys.exit(str(error).partition("\n\nDebug source:")[0])


print(signer(ask))
