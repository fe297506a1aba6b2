"""A Prometheus scrapes the agent while pods ask and EKS Auth goes down and comes back; draws docs/soak.svg.

The alert rules are those of deploy/alerts, with their times: that of an outage is five minutes. Takes Debian's
package `prometheus`.
"""

import json
import shutil
import time

from conformance.harness.basics import check

from .. import panels, pods
from ..api import Failed, wait_for
from ..images import ROOT
from ..isolation import WORK
from .upgrades import PYTHON, is_replaced

NAMESPACE = "soak"
PROMETHEUS = "http://127.0.0.1:9090"
ALERTS = ROOT / "deploy/alerts/pod-identity-agent.yaml"
DASHBOARD = ROOT / "deploy/grafana/pod-identity-agent.json"
PICTURE = ROOT / "docs/soak.svg"
HEALTH, OUTAGE = 2 * 60, 5 * 60 + 30
OF_OUTAGE = "PodIdentityEksAuthUnreachable"
# A new pod asks so often, in seconds.
EVERY = 15


def run(cluster, report):
    api, aws = cluster.api, cluster.aws
    with report.group("soak"):
        if not (program := shutil.which("prometheus")):
            raise Failed("prometheus is not in PATH: install Debian's package prometheus")
        # Refreshes within the minutes of the soak, instead of hours.
        cluster.install(
            metrics={"enabled": True}, tokenVerification={"enabled": True}, serviceAccount={"create": True},
            podLivenessCheck={"enabled": True},
            agent={"additionalArgs": {"--max-credential-retention-before-renewal": "2m"}},
        )
        wait_for("the agent to be replaced", lambda: is_replaced(api), 90)
        pods.namespace(api, NAMESPACE, "app")
        aws.associate(NAMESPACE, "app")
        load = [PYTHON, ROOT / "cluster/load.py", "0.05", "0.1"]
        for number in range(3):
            apply(api, pods.pod(f"load-{number}", "app", load))
        for number in range(3):
            pods.wait_until_ready(api, NAMESPACE, f"load-{number}")
        start(cluster.daemons, program)
        began = time.time()
        come_and_go(api, HEALTH, "healthy")
        with report.case(f"in {HEALTH // 60} healthy minutes no alert is pending or fires"):
            found = alerts(began, time.time())
            check(not found, str(found))
        aws.eks.fault(reset="before_headers", always=True)
        down = time.time()
        come_and_go(api, OUTAGE, "outage")
        with report.case("in an outage of EKS Auth its alert fires"):
            wait_for("the alert", lambda: (OF_OUTAGE, "firing") in alerts(down, time.time()), 60)
        with report.case("and pods that ran before get credentials all the time"):
            failed = increase('pod_identity_http_response{code!="200"}', down)
            answered = increase('pod_identity_http_response{code="200"}', down)
            print(f"in the outage: {answered:.0f} answers with credentials, {failed:.0f} without", flush=True)
            check(answered > 100 * failed, f"{answered} with, {failed} without")
        aws.eks.clear_faults()
        back = time.time()
        with report.case("after the outage the alert ends"):
            wait_for("the alert to end", lambda: not now_firing(OF_OUTAGE), 120)
        come_and_go(api, 45, "after")
        ended = time.time()
        with report.case("no other alert has fired"):
            firing = {name for name, state in alerts(began, ended) if state == "firing"}
            check(firing == {OF_OUTAGE}, str(firing))
        with report.case("credentials of pods that are gone are dropped instead of renewed"):
            dropped = increase("pod_identity_gone_pods_dropped", began)
            check(dropped >= 1, f"{dropped}")
        answers = increase("pod_identity_http_response", began)
        exchanges = increase("pod_identity_eks_auth_seconds_count", began)
        seen = sorted(set(alerts(began, ended)))
        print(f"{ended - began:.0f} s, {answers:.0f} answers, {exchanges:.0f} exchanges, {dropped:.0f} sets dropped; "
              f"alerts: {seen}", flush=True)
        title = f"{(ended - began) / 60:.0f} minutes in a cluster; shaded: EKS Auth resets every connection"
        marks = [("EKS Auth is down", down, back)]
        PICTURE.write_text(panels.draw(DASHBOARD, PROMETHEUS, began, ended, marks, title))
        cluster.daemons.kill("prometheus")


def start(daemons, program):
    folder = WORK / "prometheus"
    folder.mkdir()
    (folder / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{
            "job_name": "eks-pod-identity-agent",
            "static_configs": [{"targets": ["127.0.0.1:2705"], "labels": {"instance": "node-1"}}],
        }],
    }))
    daemons.start("prometheus", [
        program, "--config.file", folder / "prometheus.yml", "--storage.tsdb.path", folder / "data",
        "--web.listen-address", PROMETHEUS.removeprefix("http://"),
    ])
    wait_for("Prometheus to scrape the agent", lambda: query('up{job="eks-pod-identity-agent"} == 1'))


def come_and_go(api, seconds, name):
    """A new pod asks now and then, and ends."""
    until, number = time.monotonic() + seconds, 0
    while (left := until - time.monotonic()) > 0:
        apply(api, pods.pod(f"{name}-{number}", "app", pods.client("boto3"), restartPolicy="Never"))
        number += 1
        time.sleep(min(EVERY, left))


def alerts(began, ended):
    found = panels.query(PROMETHEUS, "query_range", query="ALERTS", start=began, end=ended, step=5)
    return {(one["metric"]["alertname"], one["metric"]["alertstate"]) for one in found}


def now_firing(name):
    return query(f'ALERTS{{alertname="{name}"}}')


def increase(metric, since):
    """How much the metric has grown since then; a series that began later has grown from 0."""
    found = query(f"sum({metric})"), query(f"sum({metric})", time=since)
    now, then = (float(one[0]["value"][1]) if one else 0 for one in found)
    return now - then


def query(expression, **at):
    return panels.query(PROMETHEUS, "query", query=expression, **at)


def apply(api, made):
    api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=json.dumps(made))
