"""Pods for the cases: manifests, and waiting for them."""

import os

from conformance.harness.basics import tail

from . import images
from .api import Failed, wait_for

CLIENTS = ["boto3", "aws-cli-v1", "aws-sdk-go-v2", "js-v3", "pod-identity-provider"]
SLEEP = ["/bin/sleep", "infinity"]


def namespace(api, name, *service_accounts):
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    api.apply(*({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": name}}
                for account in service_accounts))


def pod(name, service_account, command=SLEEP, **spec):
    annotations = spec.pop("annotations", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations},
        "spec": template(service_account, command, **spec),
    }


def template(service_account, command=SLEEP, **spec):
    return {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 0,
        "containers": [container("app", command)],
        "volumes": [{"name": f"host-{number}", "hostPath": {"path": path}}
                    for number, path in enumerate(images.mounts())],
    } | spec


def container(name, command=SLEEP, **more):
    """With the machine's programs, and nothing else of it."""
    return {
        "name": name,
        "image": images.POD,
        "imagePullPolicy": "Never",
        "command": list(map(str, command)),
        "env": [{"name": "PATH", "value": os.environ["PATH"]}, {"name": "HOME", "value": "/tmp"}],
        "volumeMounts": [{"name": f"host-{number}", "mountPath": path, "readOnly": True}
                         for number, path in enumerate(images.mounts())],
    } | more


def client(name):
    """The command of a client of conformance/clients, which prints the access key that it got."""
    folder = images.ROOT / "conformance"
    return [folder / "clients" / name / "fetch", folder / ".cache" / name]


def wait_until_ready(api, namespace, name, limit=60):
    def ready():
        found = api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        if found is None:
            raise Failed("there is no such pod")
        if not is_ready(found):
            raise Failed(state(found))
        return found

    return wait_for(f"pod {namespace}/{name} to be ready", ready, limit)


def is_ready(found):
    conditions = found["status"].get("conditions", [])
    return any(it["type"] == "Ready" and it["status"] == "True" for it in conditions)


def wait_until_done(api, namespace, name, limit=60):
    """Its end, whatever it is: the phase and what it wrote."""
    def done():
        found = api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        if not found or found["status"]["phase"] not in ("Succeeded", "Failed"):
            raise Failed(state(found))
        return found["status"]["phase"]

    phase = wait_for(f"pod {namespace}/{name} to end", done, limit)
    return phase, api.kubectl("logs", name, "--namespace", namespace, "--all-containers").strip()


def state(found):
    """The phase, and why containers do not run."""
    if not found:
        return "there is no such pod"
    status = found["status"]
    waiting = [f"{it['name']}: {it['state']}" for it in
               status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
               if "running" not in it["state"]]
    return f"{status['phase']} {status.get('message', '')} {'; '.join(waiting)}"


def execute(api, namespace, name, command, container=None, fails=False):
    where = ["--container", container] if container else []
    done = api.kubectl("exec", name, "--namespace", namespace, *where, "--", *command, fails=True)
    if done.returncode and not fails:
        raise Failed(f"in {namespace}/{name}, {' '.join(map(str, command))}: {tail(done.stderr)}")
    return done.stdout.strip() if not fails else done
