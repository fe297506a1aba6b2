import subprocess
import sys

from pod_identity_testkit import Mock

APP = "import boto3; print(boto3.Session().get_credentials().get_frozen_credentials().access_key)"


def test_the_app_lives_through_the_outage_of_the_file():
    with Mock("agent", scenario="outage.toml") as agent:
        subprocess.run([sys.executable, "-c", APP], env=agent.env, check=True)
        throttled, _broken_off, last = agent.requests()
        assert throttled["outcome"]["status"] == 429
        assert last["outcome"]["access_key_id"]
