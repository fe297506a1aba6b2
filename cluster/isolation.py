"""A machine of its own for the cluster: namespaces of mounts, network, processes and host name.

Nothing in them is reached from outside, and they end with their first process, however it ends: the kernel then
kills every process, and takes the mounts, links, addresses and network settings with it. What is left is a folder
and cgroups, which `clear` removes.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import time

# Bytes of containers and volumes. A fixed place, so that what a killed run left is found.
WORK = pathlib.Path("/var/tmp/pod-identity-cluster")
CGROUPS = pathlib.Path("/sys/fs/cgroup")
CGROUP = "pod-identity-cluster"
# kubelet writes these, and they belong to the whole machine.
SYSCTLS = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"]
SYSCTLS += ["kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"]
# Each is a folder of WORK inside.
PRIVATE = ["/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log", "/etc/cni", "/eks-hybrid"]
# Where the chart keeps the keys of the cluster.
PRIVATE += ["/var/lib/eks-pod-identity-agent"]
# Lists those that were not there, so that they are removed again.
MADE = WORK / "made"
INSIDE = "POD_IDENTITY_CLUSTER_INSIDE"


@contextlib.contextmanager
def alone():
    """One cluster at a time. What an earlier one left is removed before, and what this one leaves after."""
    WORK.mkdir(parents=True, exist_ok=True)
    with open(WORK.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("cluster/run: another cluster runs on this machine; wait until it has ended") from None
        clear()
        try:
            yield
        finally:
            clear()


def run(command):
    """Runs the command as the first process of the new namespaces, and returns its exit code."""
    # The shell reaps what containers leave behind. If this process is killed, so is `unshare`, and with it all.
    first = ["bash", "-c", '"$@" & wait $!; code=$?; exit $code', "first"]
    namespaces = ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *namespaces, *first, *map(str, command)],
        env=os.environ | {INSIDE: "1"},
        stdin=subprocess.DEVNULL if not os.isatty(0) else None,
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: process.kill())
    try:
        return process.wait()
    finally:
        # Does nothing if it has ended.
        process.kill()
        process.wait()


def enter():
    """Called inside: mounts what would otherwise be the machine's."""
    subprocess.run(["hostname", "node-1"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "run", "/run"], check=True)
    MADE.write_text("\n".join(path for path in PRIVATE if not os.path.exists(path)))
    for path in PRIVATE:
        own = WORK / "private" / path.strip("/")
        own.mkdir(parents=True)
        pathlib.Path(path).mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", own, path], check=True)
    for name in SYSCTLS:
        setting = pathlib.Path("/proc/sys", name)
        if setting.exists():
            copy = WORK / "sysctl" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(setting.read_text())
            subprocess.run(["mount", "--bind", copy, setting], check=True)
    for cgroup in hierarchies():
        (cgroup / CGROUP).mkdir(exist_ok=True)
    copy_cpuset()


def hierarchies():
    """Those of version 1, or the one of version 2."""
    if (CGROUPS / "cgroup.procs").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if (path / "cgroup.procs").exists() and not path.is_symlink()]


def copy_cpuset():
    """A new cpuset of version 1 has no processors and no memory, and nothing can run in it."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        parent = CGROUPS / "cpuset" / name
        if parent.exists():
            (parent.parent / CGROUP / name).write_text(parent.read_text())


def clear():
    """Removes what namespaces do not take along. Fails if something still runs in them."""
    deadline = time.monotonic() + 20
    for cgroup in hierarchies():
        remove_cgroup(cgroup / CGROUP, deadline)
    for path in MADE.read_text().split() if MADE.exists() else []:
        os.rmdir(path)
    if WORK.exists():
        shutil.rmtree(WORK)


def remove_cgroup(cgroup, deadline):
    if not cgroup.exists():
        return
    for folder, _, _ in os.walk(cgroup, topdown=False):
        while True:
            try:
                os.rmdir(folder)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise SystemExit(f"cluster/run: {folder} cannot be removed: {error}") from None
                # The kernel is still taking the last processes away.
                time.sleep(0.1)
