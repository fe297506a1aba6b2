import os
import subprocess
import sys

APP = "import boto3; print(boto3.Session().get_credentials().get_frozen_credentials().access_key)"


def test_the_app_lives_through_the_outage_of_the_file():
    testkit = os.environ.get("POD_IDENTITY_TESTKIT", "pod-identity-testkit")
    command = [testkit, "run", "--scenario", "outage.toml", "--", sys.executable, "-c", APP]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout.startswith("ASIA")
