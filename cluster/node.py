"""The node: its bridge, containerd and kubelet, and its reboot."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

from .api import Failed, run, wait_for
from .control_plane import CREDENTIALS, NODE_ADDRESS
from .isolation import CGROUP, WORK, hierarchies, remove_cgroup

BRIDGE = "pods0"
NODE_ADDRESS_V6 = "fd00:99::1"
SOCKET = "/run/containerd/containerd.sock"
LINK = "pod-id-link0"

CONTAINERD = f"""\
version = 2
oom_score = 0
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:latest"
  # Without CAP_SYS_RESOURCE no container may get a lower score than containerd has.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
"""

KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "address": NODE_ADDRESS,
    "healthzBindAddress": "127.0.0.1",
    "authentication": {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": False},
        "x509": {"clientCAFile": str(CREDENTIALS / "ca.crt")},
    },
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": f"/{CGROUP}",
    # Older machines of CI have version 1 only.
    "failCgroupV1": False,
    "failSwapOn": False,
    "enforceNodeAllocatable": [],
    "makeIPTablesUtilChains": False,
    "containerRuntimeEndpoint": f"unix://{SOCKET}",
    "resolvConf": "",
    "volumePluginDir": str(WORK / "volume-plugins"),
    # A disk that is nearly full is no reason to evict.
    "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
    "imageGCHighThresholdPercent": 100,
    # How often kubelet looks at volumes, and so at the age of tokens; a minute otherwise.
    "syncFrequency": "10s",
    "nodeStatusUpdateFrequency": "4s",
    "shutdownGracePeriod": "0s",
}

NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [{
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipam": {
            "type": "host-local",
            "ranges": [
                [{"subnet": "10.99.0.0/24", "rangeStart": "10.99.0.10", "gateway": NODE_ADDRESS}],
                [{"subnet": "fd00:99::/112", "rangeStart": "fd00:99::10", "gateway": NODE_ADDRESS_V6}],
            ],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        },
    }],
}


class Node:
    def __init__(self, daemons, programs, api, images):
        self.daemons, self.programs, self.api, self.images = daemons, programs, api, images
        self.name = "node-1"

    def start(self):
        pathlib.Path("/etc/cni/net.d").mkdir(parents=True, exist_ok=True)
        pathlib.Path("/etc/cni/net.d/pods.conflist").write_text(json.dumps(NETWORK))
        (WORK / "containerd.toml").write_text(CONTAINERD)
        (WORK / "kubelet.json").write_text(json.dumps(KUBELET))
        self.start_containerd()
        for image in self.images:
            self.ctr("images", "import", image)
        self.start_kubelet()

    def start_containerd(self):
        self.daemons.start("containerd", [self.programs["containerd"], "--config", WORK / "containerd.toml"])
        wait_for("containerd", lambda: self.ctr("version"))

    def start_kubelet(self):
        self.daemons.start("kubelet", [
            self.programs["kubelet"], "--config", WORK / "kubelet.json", "--kubeconfig", CREDENTIALS / "kubelet.conf",
            "--hostname-override", self.name, "--node-ip", f"{NODE_ADDRESS},{NODE_ADDRESS_V6}",
        ])

    def ctr(self, *arguments):
        done = run([self.programs["ctr"], "--address", SOCKET, "--namespace", "k8s.io", *arguments])
        if done.returncode:
            raise Failed(f"ctr {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout or "done"

    def is_ready(self):
        node = self.api.get(f"/api/v1/nodes/{self.name}")
        conditions = {it["type"]: it for it in node["status"].get("conditions", [])} if node else {}
        ready = conditions.get("Ready", {"status": "Unknown", "message": "the node has not registered"})
        if ready["status"] != "True":
            raise Failed(ready["message"])
        return True

    def reboot(self):
        """Every container is killed, and what lives in the kernel or under /run is gone."""
        self.daemons.kill("kubelet")
        self.daemons.kill("containerd")
        for process in containers():
            kill(process)
        wait_for("the containers to be gone", lambda: not containers())
        for cgroup in hierarchies():
            remove_cgroup(cgroup / CGROUP / "kubepods", time.monotonic() + 20)
        for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()[::-1]:
            where = line.split()[4]
            if where.startswith(("/run/containerd", "/run/netns", "/var/lib/kubelet/pods")):
                subprocess.run(["umount", "--lazy", where], check=True)
        for folder in ("/run/containerd", "/run/netns", "/var/lib/cni/networks"):
            shutil.rmtree(folder, ignore_errors=True)
        for link in (LINK, BRIDGE):
            subprocess.run(["ip", "link", "delete", link], check=False, capture_output=True)
        make_network()
        self.start_containerd()
        self.start_kubelet()


def make_network():
    ip("link", "set", "lo", "up")
    # A bridge takes the lowest address of its members otherwise, and pods lose their gateway for seconds.
    ip("link", "add", BRIDGE, "address", "02:00:00:99:00:01", "type", "bridge")
    ip("address", "add", f"{NODE_ADDRESS}/24", "dev", BRIDGE)
    ip("address", "add", f"{NODE_ADDRESS_V6}/112", "dev", BRIDGE, "nodad")
    ip("link", "set", BRIDGE, "up")
    # `ip` of some versions keeps the address of the service after a reboot.
    ip("address", "replace", "10.98.0.1/32", "dev", "lo")
    # `initialize` makes its link of type `dummy`. Where the kernel lacks it, it takes one that is there.
    if run(["ip", "link", "add", "try0", "type", "dummy"]).returncode:
        ip("link", "add", LINK, "type", "ifb")
    else:
        ip("link", "delete", "try0")
    for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        pathlib.Path("/proc/sys/net", setting).write_text("1")


def ip(*arguments):
    done = run(["ip", *arguments])
    if done.returncode:
        raise Failed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def containers():
    """Processes of containers and their shims."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            in_pod = f"/{CGROUP}/" in (process / "cgroup").read_text()
            shim = (process / "comm").read_text().startswith("containerd-shim")
        except OSError:
            continue
        if (in_pod or shim) and (process / "exe").is_symlink():
            found.append(int(process.name))
    return [number for number in found if not is_zombie(number)]


def is_zombie(number):
    try:
        return pathlib.Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def kill(number):
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        pass
