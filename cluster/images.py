"""The images of the cluster, as archives that containerd imports."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AGENT = "localhost/pod-identity-agent:latest"
POD = "localhost/pod:latest"
TESTKIT = "localhost/pod-identity-testkit:latest"
PAUSE = "localhost/pause:latest"

# The container that holds a pod's namespaces. containerd ends it with a signal that cannot be ignored.
PAUSE_PROGRAM = "int pause(void); int main(void) { for (;;) pause(); }"


def make(folder, testkit):
    """The archives of the images."""
    folder.mkdir(parents=True, exist_ok=True)
    say(subprocess.run([ROOT / "image/build"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    pause = folder / "pause/root"
    pause.mkdir(parents=True)
    compile = ["cc", "-static", "-Os", "-s", "-x", "c", "-", "-o", pause / "pause"]
    subprocess.run(compile, input=PAUSE_PROGRAM, text=True, check=True)
    build(PAUSE, folder / "pause", '["/pause"]')
    # Its programs are the machine's: pods mount them. Only the links that lead into /usr are its own.
    pod = folder / "pod/root"
    for name in ("usr", "tmp", "etc", "root"):
        (pod / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (pod / name).symlink_to(f"usr/{name}")
    build(POD, folder / "pod", '["/bin/sleep", "infinity"]')
    with_libraries(testkit, folder / "testkit/root")
    build(TESTKIT, folder / "testkit", '["/pod-identity-testkit"]')
    return [save(image, folder) for image in (AGENT, POD, PAUSE, TESTKIT)]


def with_libraries(program, root):
    """A program that is linked dynamically, without its symbols, and root certificates."""
    root.mkdir(parents=True)
    subprocess.run(["strip", "-o", root / Path(program).name, program], check=True)
    listed = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    for library in (word for word in listed.split() if word.startswith("/")):
        copy = root / library.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, copy)
    # The AWS client reads them although it is not asked for TLS.
    (root / "etc/ssl/certs").mkdir(parents=True)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs")


def build(image, context, entrypoint):
    recipe = f"FROM scratch\nCOPY root/ /\nENTRYPOINT {entrypoint}\n"
    (context / "Containerfile").write_text(recipe)
    buildah("build", "--tag", image, context)


def save(image, folder):
    archive = folder / (image.split("/")[1].split(":")[0] + ".tar")
    archive.unlink(missing_ok=True)
    buildah("push", image, f"docker-archive:{archive}:{image}")
    return archive


def buildah(*arguments):
    done = subprocess.run(["buildah", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"cluster/run: buildah {' '.join(map(str, arguments))}: {done.stderr}")


def mounts():
    """Folders of the machine that a pod needs for the clients, read-only and under their own names."""
    programs = [Path(sys.base_prefix).resolve(), Path(shutil.which("node")).resolve().parent.parent]
    outside = [path for path in programs if not path.is_relative_to("/usr")]
    return sorted({"/usr", "/etc/ssl", *map(str, outside), str(ROOT / "conformance"), str(ROOT / "cluster")})


def say(line):
    print(line, flush=True)
