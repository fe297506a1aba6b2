"""The whole cluster, from its credentials to a node that is ready."""

import json
import time
from pathlib import Path

from .api import Api, Failed, run, wait_for
from .aws import Aws
from .control_plane import CREDENTIALS, make_credentials
from .control_plane import start as start_control_plane
from .daemons import Daemons, tail
from .images import AGENT
from .isolation import WORK
from .node import Node, make_network

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy/charts/pod-identity-agent"
RELEASE = "eks-pod-identity-agent"


class Cluster:
    def __init__(self, programs, images):
        self.programs = programs
        self.daemons = Daemons()
        make_credentials()
        self.api = Api(programs, CREDENTIALS)
        self.node = Node(self.daemons, programs, self.api, images)

    def start(self):
        began = time.monotonic()
        make_network()
        start_control_plane(self.daemons, self.programs, self.api)
        say(f"the API server answers after {time.monotonic() - began:.0f} s")
        self.node.start()
        wait_for("the node", lambda: self.daemons.check() or self.node.is_ready(), 120)
        wait_for("the default service account",
                 lambda: self.api.get("/api/v1/namespaces/default/serviceaccounts/default"))
        say(f"the node is ready after {time.monotonic() - began:.0f} s")
        self.aws = Aws(self.programs["testkit"], self.api)

    def helm(self, *arguments):
        command = [self.programs["helm"], *arguments, "--namespace", "kube-system", "--kubeconfig", self.api.kubeconfig]
        done = run(command)
        if done.returncode:
            raise Failed(f"helm {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def install(self, *options, release=RELEASE, **changes):
        """The chart, with what the README says, and this cluster's EKS Auth; what helm prints."""
        ready = self.aws.eks.ready
        values = {
            "clusterName": ready["cluster"],
            "image": {"override": AGENT},
            "eksAuth": {"endpoint": self.aws.eks.endpoint},
            "env": {
                "AWS_REGION": ready["region"],
                "AWS_ACCESS_KEY_ID": ready["access_key_id"],
                "AWS_SECRET_ACCESS_KEY": ready["secret_access_key"],
            },
        }
        file = WORK / "values.json"
        file.write_text(json.dumps(values | changes))
        return self.helm("upgrade", "--install", release, CHART, "--values", file, *options)

    def explain(self):
        """What to know about a failure."""
        for title, arguments in [
            ("nodes", ["get", "nodes", "--output", "wide"]),
            ("pods", ["get", "pods", "--all-namespaces", "--output", "wide"]),
            ("events", ["get", "events", "--all-namespaces", "--sort-by", ".lastTimestamp"]),
        ]:
            try:
                done = self.api.kubectl(*arguments, fails=True, limit=20)
                lines = (done.stdout + done.stderr).splitlines()
            except Failed as error:
                lines = [str(error)]
            say(f"--- {title}", *lines[:1], *lines[1:][-40:])
        self.explain_agents()
        for name, process in self.daemons.processes.items():
            ended = process.poll()
            say(f"--- {name}{'' if ended is None else f', which has ended with {ended}'}", tail(name))

    def explain_agents(self):
        for log in sorted(Path("/var/log/pods").glob("kube-system_*/*/*.log")):
            lines = log.read_text(errors="replace").splitlines()
            say(f"--- {log.relative_to('/var/log/pods')}", *lines[-15:])

    def stop(self):
        if hasattr(self, "aws"):
            self.aws.close()


def say(*lines):
    print("\n".join(lines), flush=True)
