import socket

import pytest
from pod_identity_testkit import pod_identity_agent  # noqa: F401


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])
