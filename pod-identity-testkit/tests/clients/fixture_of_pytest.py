"""The fixture for pytest, as `tests/program/clients.rs` runs it."""

import os

from pod_identity_testkit import pod_identity_agent  # noqa: F401
from test_pod_identity_testkit import ask


def test_this_process_is_a_pod_of_the_mock(pod_identity_agent):  # noqa: F811
    assert "AWS_ACCESS_KEY_ID" not in os.environ
    assert ask(os.environ)[0] == 200
    assert len(pod_identity_agent.requests()) == 1
