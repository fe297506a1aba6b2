"""The agent is replaced while pods ask it all the time: rolling updates, rollbacks, other configuration, SIGKILL."""

import http.client
import json
import os
import signal
import time
from pathlib import Path

from conformance.harness.basics import check

from .. import pods
from ..api import Failed, wait_for
from ..cluster import RELEASE
from .install import is_available

NAMESPACE = "upgrades"
UPGRADES = 20
DAEMONSET = f"/apis/apps/v1/namespaces/kube-system/daemonsets/{RELEASE}"
# Longer than the load waits for an answer.
SETTLED = 6
PYTHON = pods.images.ROOT / "conformance/.cache/boto3/venv/bin/python"


def run(cluster, report):
    with report.group("upgrades"):
        with report.case("helm replaces an agent that shares its addresses with nobody, and then surges"):
            first_switch(cluster)
        pods.namespace(cluster.api, NAMESPACE, "app")
        cluster.aws.associate(NAMESPACE, "app")
        command = [PYTHON, pods.images.ROOT / "cluster/load.py", "0.05", "0.05", "0.01"]
        load = json.dumps(pods.pod("load", "app", command))
        cluster.api.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", text=load)
        pods.wait_until_ready(cluster.api, NAMESPACE, "load")
        wait_for("the load", lambda: counts()["fresh"].get("200", 0) > 100)
        kinds = [restart, undo, configure]
        times = []
        with report.case(f"{UPGRADES} upgrades under load: no request is refused, reset or unanswered"):
            for number in range(UPGRADES):
                kind = kinds[number % len(kinds)]
                before, began = total(), time.monotonic()
                kind(cluster, number)
                wait_for(f"upgrade {number}", lambda: is_replaced(cluster.api), 90)
                times.append(time.monotonic() - began)
                say(f"{kind.__name__} {number}: {times[-1]:.1f} s, {difference(before, total())}")
            time.sleep(SETTLED)
            say(f"all: {counts()}")
            check(set(total()) == {"200"}, "; ".join(last()["failures"]))
        with report.case("SIGKILL: it answers within 0.3 s of the container's restart"):
            killed(cluster)


def first_switch(cluster):
    """From an agent that shares its addresses with nobody, as the official one, to one that does."""
    for values, strategy in [
        ({"agent": {"reusePort": False}}, {"maxSurge": 0, "maxUnavailable": "10%"}),
        ({}, {"maxSurge": 0, "maxUnavailable": "10%"}),
        ({}, {"maxSurge": 1, "maxUnavailable": 0}),
    ]:
        cluster.install(**values)
        wait_for("the agent to be replaced", lambda: is_replaced(cluster.api), 90)
        found = cluster.api.get(DAEMONSET)["spec"]["updateStrategy"]["rollingUpdate"]
        check({name: found.get(name) for name in strategy} == strategy, f"{found}, not {strategy}")


def restart(cluster, number):
    annotation = {"kubectl.kubernetes.io/restartedAt": str(number)}
    cluster.api.patch(DAEMONSET, {"spec": {"template": {"metadata": {"annotations": annotation}}}})


def undo(cluster, _number):
    cluster.api.kubectl("rollout", "undo", f"daemonset/{RELEASE}", "--namespace", "kube-system")


def configure(cluster, number):
    cluster.install(podAnnotations={"number": str(number)})


def is_replaced(api):
    found = api.get(DAEMONSET)
    if found["status"].get("observedGeneration") != found["metadata"]["generation"]:
        raise Failed("the controller has not seen it")
    is_available(api, RELEASE)
    left = api.pods("kube-system", f"app.kubernetes.io/instance={RELEASE}")
    if len(left) != 1:
        raise Failed("; ".join(f"{it['metadata']['name']}: {pods.state(it)}" for it in left))
    return True


def killed(cluster):
    """The time from the start of the new process to its first answer; how soon kubelet starts it is not ours."""
    cat = ["/bin/sh", "-c", "cat $AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
    token = pods.execute(cluster.api, NAMESPACE, "load", cat)
    old = agent()
    os.kill(old, signal.SIGKILL)
    began = time.monotonic()
    while not is_answered(token):
        check(time.monotonic() < began + 60, "no answer within 60 s")
        time.sleep(0.005)
    answered = time.clock_gettime(time.CLOCK_BOOTTIME)
    new = agent()
    took, waited = answered - started(new), waited_for_processor(new)
    say(f"SIGKILL: no agent for {time.monotonic() - began:.2f} s, {took:.2f} s of it with the new process, "
        f"which waited for a processor for {waited:.2f} s")
    check(took - waited < 0.3, f"{took:.2f} s")


def is_answered(token):
    connection = http.client.HTTPConnection("169.254.170.23", timeout=1)
    try:
        connection.request("GET", "/v1/credentials", headers={"Authorization": token})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def waited_for_processor(process):
    """The longest wait of one of its threads, in seconds: a busy machine is not the agent's doing."""
    threads = Path(f"/proc/{process}/task").glob("*/schedstat")
    return max(int(thread.read_text().split()[1]) for thread in threads) / 1e9


def started(process):
    """By the clock CLOCK_BOOTTIME."""
    ticks = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[19]
    return int(ticks) / os.sysconf("SC_CLK_TCK")


def agent():
    """The process id of the agent that serves."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith((b"/go-runner", b"/eks-pod-identity-agent")) and b"server" in words:
            return int(process.name)
    return None


def last():
    """What the load has printed last; its log is read as containerd writes it."""
    log = next(Path("/var/log/pods").glob(f"{NAMESPACE}_load_*/app/0.log"), None)
    lines = log.read_text().splitlines() if log else []
    for line in reversed(lines):
        try:
            return json.loads(line.split(" ", 3)[3])
        except (IndexError, ValueError):
            continue
    raise Failed("the load has printed nothing")


def counts():
    return last()["counts"]


def total():
    sums = {}
    for by in counts().values():
        for outcome, number in by.items():
            sums[outcome] = sums.get(outcome, 0) + number
    return sums


def difference(before, after):
    return {outcome: number - before.get(outcome, 0) for outcome, number in after.items()}


def say(line):
    print(line, flush=True)
