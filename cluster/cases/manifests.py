"""The API server accepts every manifest under deploy/, strictly and without making anything."""

import re

from conformance.harness.basics import check

from ..api import wait_for
from ..images import ROOT

DEPLOY = ROOT / "deploy"
# What envsubst would put into the manifests.
VALUES = {"CLUSTER_NAME": "test-cluster", "AWS_REGION": "us-west-2", "IMAGE": "registry.example/agent:1"}


def run(cluster, report):
    with report.group("definitions of other projects"):
        for definition in cluster.programs["definitions"]:
            cluster.api.kubectl("create", "-f", definition)
            # kubectl fails at once while a definition has no conditions yet.
            wait = ("wait", "--for", "condition=established", "-f", definition)
            wait_for(f"{definition} to be established", lambda: cluster.api.kubectl(*wait))
    for folder in ("golden", "manifests", "examples"):
        for file in sorted((DEPLOY / folder).glob("*.yaml")):
            with report.case(f"deploy/{folder}/{file.name} is accepted"):
                text = re.sub(r"\$\{(\w+)\}", lambda found: VALUES[found[1]], file.read_text())
                accepted = dry_run(cluster, text)
                check(accepted.returncode == 0 and accepted.stdout, accepted.stderr)
    with report.case("a misspelt field is refused"):
        text = (DEPLOY / "manifests/cloud.yaml").read_text().replace("hostNetwork:", "hostNetworks:")
        refused = dry_run(cluster, text)
        check(refused.returncode != 0 and "hostNetworks" in refused.stderr, refused.stdout + refused.stderr)


def dry_run(cluster, text):
    return cluster.api.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", text=text, fails=True)
