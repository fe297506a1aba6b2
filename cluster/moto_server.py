"""moto on the node: IAM, STS and S3, which check signatures and policies."""

import hashlib
import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from .api import Failed, run, wait_for
from .control_plane import NODE_ADDRESS

FOLDER = Path(__file__).resolve().parent / "moto"
ACCOUNT = "123456789012"
PORT = "5000"
ENDPOINT = f"http://{NODE_ADDRESS}:{PORT}"


def install(cache):
    """The folder of its environment, made anew when a requirement changes."""
    requirements = FOLDER / "requirements.txt"
    folder = cache / f"moto-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin/pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--no-compile", "--no-deps", "--requirement", requirements], check=True)
        subprocess.run([*pip, "check"], check=True)
        (folder / "installed").touch()
    return folder


def start(daemons, folder):
    """Returns the variables of a user that may assume the role `reader`, which may list buckets."""
    daemons.start("moto", [Path(folder, "bin/python"), Path(folder, "bin/moto_server"), "-H", NODE_ADDRESS, "-p", PORT])
    wait_for("moto", lambda: daemons.check() or urllib.request.urlopen(f"{ENDPOINT}/moto-api/", timeout=5), 60)
    done = run([Path(folder, "bin/python"), FOLDER / "setup.py", ENDPOINT])
    if done.returncode:
        raise Failed(f"moto cannot be set up: {done.stderr}")
    return json.loads(done.stdout)
