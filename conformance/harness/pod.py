"""A pod: its environment, its token, and what it is given."""

import contextlib
import http.client
import json
import os
import pathlib
import urllib.parse

from .basics import DEADLINE, TOKEN_FILE, URI, check


class Pod:
    def __init__(self, environment):
        self.environment = environment
        self.secrets = set()

    def token(self):
        return pathlib.Path(self.environment[TOKEN_FILE]).read_text(encoding="ascii")

    def key(self):
        """The access key of a raw request, without any SDK."""
        credentials = raw_request(self.environment)
        self.secrets |= {credentials["SecretAccessKey"], credentials["Token"], self.token()}
        return credentials["AccessKeyId"]

    def volume(self):
        """kubelet's symbolic link, which a rotation points elsewhere."""
        return os.readlink(pathlib.Path(self.environment[TOKEN_FILE]).parent / "..data")


def raw_request(environment):
    uri = urllib.parse.urlsplit(environment[URI])
    token = pathlib.Path(environment[TOKEN_FILE]).read_text(encoding="ascii")
    connection = http.client.HTTPConnection(uri.hostname, uri.port or 80, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", uri.path, headers={"Authorization": token})
        response = connection.getresponse()
        body = response.read().decode()
    check(response.status == 200, f"a raw request got {response.status}: {body.strip()}")
    return json.loads(body)
