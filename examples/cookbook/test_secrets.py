import logging
import pathlib

import boto3


def test_no_log_holds_a_secret(pod_identity_agent, caplog):
    caplog.set_level(logging.DEBUG)
    credentials = boto3.Session().get_credentials().get_frozen_credentials()
    token = pathlib.Path(pod_identity_agent.token_file).read_text()
    assert "credentials" in caplog.text
    for secret in (token, credentials.secret_key, credentials.token):
        assert secret not in caplog.text
