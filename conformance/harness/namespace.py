"""A network namespace with nothing in it but loopback and the agent's real addresses."""

import ctypes
import os
import pathlib

from .basics import check, execute

IPV4 = "169.254.170.23"
IPV6 = "fd00:ec2::23"
CLONE_NEWNET = 0x4000_0000


def enter_namespace():
    """Moves this process there for good, and all that it starts from now on. Linux only, as root."""
    libc = ctypes.CDLL(None, use_errno=True)
    check(hasattr(libc, "unshare"), "only Linux has network namespaces")
    # os.unshare needs Python 3.12.
    done = libc.unshare(CLONE_NEWNET)
    check(done == 0, f"no network namespace: {os.strerror(ctypes.get_errno())}")
    ip("link", "set", "lo", "up")
    ip("address", "add", f"{IPV4}/32", "dev", "lo")
    ip("address", "add", f"{IPV6}/128", "dev", "lo", "nodad")


def refused_connections():
    """How many connections were refused in this namespace so far."""
    lines = pathlib.Path("/proc/self/net/snmp").read_text(encoding="ascii").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(dict(zip(names, values))["AttemptFails"])


def ip(*arguments):
    done = execute(["ip", *arguments], os.environ)
    check(done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}")
