"""The folders of conformance/clients: `install`, `fetch`, `refusal.txt`; see README.md."""

import concurrent.futures
import hashlib
import os
import shutil
import subprocess
import sys

from .basics import CACHE, HERE, Unexpected, check, execute, tail

INSTALL_LIMIT = 600


class Client:
    def __init__(self, folder):
        self.name = folder.name
        self.folder = folder
        self.private = CACHE / folder.name
        self.command = [str(folder / "fetch"), str(self.private)]
        self.refusal = (folder / "refusal.txt").read_text(encoding="utf-8").strip()

    def install(self):
        """Anew whenever a file of the folder has changed, or of what it is built from."""
        digest = hashlib.sha256()
        for file in self.files():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        stamp = self.private / ".installed"
        if stamp.exists() and stamp.read_text(encoding="utf-8") == digest.hexdigest():
            return
        shutil.rmtree(self.private, ignore_errors=True)
        self.private.mkdir(parents=True)
        command = [str(self.folder / "install"), str(self.private)]
        done = execute(command, os.environ, INSTALL_LIMIT)
        check(done.returncode == 0, f"cannot be installed: {tail(done.stderr)}")
        stamp.write_text(digest.hexdigest(), encoding="utf-8")

    def files(self):
        sources = self.folder / "built-from.txt"
        built_from = sources.read_text(encoding="utf-8").split() if sources.exists() else []
        paths = [self.folder / path for path in built_from]
        files = {file for path in paths for file in [path, *path.rglob("*")] if file.is_file()}
        return sorted(self.folder.iterdir()) + sorted(files)

    def fetch(self, environment):
        return execute(self.command, environment)

    def start(self, environment):
        return subprocess.Popen(
            self.command,
            cwd=HERE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def key(self, environment, asks=1):
        """What it prints; at the latest when it is run for the `asks`-th time."""
        for _ask in range(asks):
            done = self.fetch(environment)
            if done.returncode == 0:
                return done.stdout.strip()
        raise Unexpected(f"exit code {done.returncode}: {tail(done.stderr)}")

    def asks_again(self, case):
        """Whether its SDK gives up in this case, so that the app has to ask again."""
        given_up = self.folder / "asks-again.txt"
        return given_up.exists() and case in given_up.read_text(encoding="utf-8").split()


def chosen(names):
    clients = {folder.name: folder for folder in sorted((HERE / "clients").iterdir())}
    for name in names:
        if name not in clients:
            sys.exit(f"conformance/run: no client {name}; there are {', '.join(clients)}")
    return [Client(clients[name]) for name in names or clients]


def install(report, clients):
    """Those that could be installed. Three at a time: they wait for compilers and registries in turn."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=3) as pool:
        installations = [pool.submit(client.install) for client in clients]
    installed = []
    for client, done in zip(clients, installations):
        if done.exception():
            report.missing(client.name, done.exception())
        else:
            installed.append(client)
    return installed
