"""The agent and the testkit of this repository."""

import json
import os
import pathlib
import subprocess

from .basics import HERE

PROGRAMS = ["pod-identity-agent", "pod-identity-testkit"]


def programs():
    """The agent and the testkit."""
    named = [os.environ.get(f"POD_IDENTITY_{name}") for name in ("AGENT", "TESTKIT")]
    built = None if all(named) else build()
    return [name or built / program for name, program in zip(named, PROGRAMS)]


def build():
    root = HERE.parent
    packages = [word for program in PROGRAMS for word in ("--package", program)]
    features = ["--features", "pod-identity-testkit/program"]
    subprocess.run(["cargo", "build", *packages, *features], cwd=root, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"],
        cwd=root,
        check=True,
        stdout=subprocess.PIPE,
    )
    return pathlib.Path(json.loads(metadata.stdout)["target_directory"]) / "debug"
