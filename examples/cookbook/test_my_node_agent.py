import os
import subprocess

import pytest
from botocore.credentials import ContainerProvider
from pod_identity_testkit import Mock

AGENT = os.environ.get("POD_IDENTITY_AGENT", "pod-identity-agent")


@pytest.fixture
def eks():
    role = "default/app=arn:aws:iam::111122223333:role/app"
    with Mock("eks", "--signatures", "enforce", "--associate", role) as mock:
        yield mock


def test_the_pod_gets_credentials_after_throttling(eks, free_port):
    command = [AGENT, "server", "--cluster-name", eks.ready["cluster"], "--endpoint", eks.endpoint]
    ports = ["--bind-hosts", "127.0.0.1", "--port", free_port, "--probe-port", "0", "--metrics-port", "0"]
    eks.fault(error="ThrottlingException", count=2)
    with subprocess.Popen(command + ports, env=eks.env) as agent:
        pod = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{free_port}/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": eks.token_file,
        }
        credentials = ContainerProvider(environ=pod).load()
        agent.terminate()
    codes = [request["outcome"]["code"] for request in eks.requests()]
    assert codes == ["ThrottlingException", "ThrottlingException", None]
    assert eks.requests()[-1]["outcome"]["access_key_id"] == credentials.access_key
