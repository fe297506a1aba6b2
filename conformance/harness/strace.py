"""A program one of whose system calls fails: strace keeps the call from the kernel and returns an error."""

import os
import shutil
import signal
import subprocess
import threading
from typing import NamedTuple, Optional

from .basics import check, execute, tail

# Longer texts than strace writes by default: a line of a log.
STRACE = ["strace", "--seccomp-bpf", "-f", "-qq", "-s", "256"]
# Calls that do the same, of which an architecture or a C library uses one.
SAME = {
    "chmod": ["chmod", "fchmodat"],
    "clone3": ["clone3", "clone"],
    "epoll_wait": ["epoll_wait", "epoll_pwait"],
    "newfstatat": ["newfstatat", "fstat"],
    "poll": ["poll", "ppoll"],
    "rename": ["rename", "renameat", "renameat2"],
}


def refusal():
    """Why strace cannot be used here, with what to do about it; None if it can."""
    if shutil.which("strace") is None:
        return "strace is missing: apt-get install strace"
    done = execute([*STRACE, "-o", os.devnull, "-e", "trace=execve", "true"], os.environ)
    if done.returncode == 0:
        return None
    return (
        f"strace cannot trace a program: {tail(done.stderr)}; a container needs the capability SYS_PTRACE, and strace"
        " must be 5.3 or later"
    )


class Failure(NamedTuple):
    """The n-th of these calls fails, once in each thread. With a file, only calls for it count."""

    call: str
    error: str
    n: int
    file: Optional[str] = None

    def options(self):
        # strace refuses a name that only other architectures have, unless `?` is before it.
        calls = ",".join(f"?{name}" for name in SAME.get(self.call, [self.call]))
        inject = f"inject={calls}:error={self.error}:when={self.n}"
        file = [] if self.file is None else ["-P", self.file]
        return ["-e", f"trace={calls}", "-e", inject, *file]


class Traced:
    """A running program under strace, killed with the block. Its folder holds what it writes."""

    def __init__(self, traces, failure, command, environment, folder):
        self.folder, self._traces = folder, traces
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = traces.start(
                [*STRACE, "-o", str(folder / "calls"), *failure.options(), *command],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self._traces.kill(self.process)

    def has_ended(self):
        return self.process.poll() is not None

    def terminate(self):
        """SIGTERM. strace does not heed it, as it writes to a file."""
        os.killpg(self.process.pid, signal.SIGTERM)

    def injected(self):
        """The calls that failed, as strace writes them."""
        return [line for line in self._lines("calls") if line.endswith("(INJECTED)")]

    def output(self):
        return self._lines("out")

    def written(self):
        return self._lines("out") + self._lines("err")

    def _lines(self, name):
        """Those that are complete."""
        file = self.folder / name
        if not file.exists():
            return []
        return file.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]


class Traces:
    """The traced programs. At the end of the block they are killed, and no other can be started."""

    def __init__(self):
        self._lock = threading.Lock()
        self._running = set()
        self._has_ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        with self._lock:
            self._has_ended = True
            running = list(self._running)
        for process in running:
            self.kill(process)

    def start(self, command, **options):
        with self._lock:
            check(not self._has_ended, "interrupted")
            # A group of its own, because a program goes on when its strace is killed.
            process = subprocess.Popen(command, bufsize=0, start_new_session=True, **options)
            self._running.add(process)
        return process

    def kill(self, process):
        """Does nothing if it has ended: then its group may be that of another."""
        with self._lock:
            self._running.discard(process)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        process.stdin.close()
