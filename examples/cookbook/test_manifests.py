"""No engine and no cluster here: only that the manifests say what `dev` does with these arguments."""

import json
import os
import pathlib
import subprocess

import pytest
import yaml

AGENT = os.environ.get("POD_IDENTITY_AGENT", "pod-identity-agent")
FOLDER = pathlib.Path(__file__).parent


def compose():
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return services["pod-identity"]["command"], services["app"]["environment"]


def kind():
    pod = yaml.safe_load((FOLDER / "kind-patch.yaml").read_text())["spec"]["template"]["spec"]
    app, agent = pod["containers"]
    return agent["args"], {variable["name"]: variable["value"] for variable in app["env"]}


@pytest.mark.parametrize("manifest", [compose, kind])
def test_the_app_is_told_what_dev_prints(manifest, tmp_path, free_port):
    arguments, told = manifest()
    here = {"8080": free_port, "/pod-identity": str(tmp_path)}
    command = [AGENT] + [here.get(argument, argument) for argument in arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as dev:
        printed = json.loads(dev.stdout.readline())["env"]
        dev.terminate()
    for name, value in told.items():
        here_it_is = value.replace("8080", free_port).replace("/pod-identity", str(tmp_path))
        assert printed[name] == here_it_is
