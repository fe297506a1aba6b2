"""etcd, the API server, the controller manager and the scheduler, with certificates of their own."""

import json
import subprocess

from .api import ADDRESS, Failed, wait_for
from .isolation import WORK

CREDENTIALS = WORK / "credentials"
ISSUER = "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
NODE_ADDRESS = "10.99.0.1"
# Name, common name, organization, other names.
CERTIFICATES = [
    ("apiserver", "kube-apiserver", "", f"IP:{ADDRESS},IP:{NODE_ADDRESS},DNS:kubernetes.default.svc"),
    ("webhook", "webhook", "", "IP:127.0.0.1"),
    ("admin", "admin", "system:masters", ""),
    ("controller-manager", "system:kube-controller-manager", "", ""),
    ("scheduler", "system:kube-scheduler", "", ""),
    ("kubelet", "system:node:node-1", "system:nodes", ""),
    ("apiserver-kubelet", "kube-apiserver", "system:masters", ""),
]


def make_credentials():
    CREDENTIALS.mkdir(parents=True)
    openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=cluster "
            "-keyout ca.key -out ca.crt")
    for name, common_name, organization, names in CERTIFICATES:
        subject = f"/O={organization}" * bool(organization) + f"/CN={common_name}"
        openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes", "-subj", subject,
                "-keyout", f"{name}.key", "-out", f"{name}.csr")
        extensions = CREDENTIALS / f"{name}.ext"
        lines = ["basicConstraints=CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
        extensions.write_text("\n".join(lines + [f"subjectAltName={names}"] * bool(names)) + "\n")
        openssl("x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 2", "-in", f"{name}.csr",
                "-out", f"{name}.crt", "-extfile", extensions)
        kubeconfig(name)
    # As EKS signs tokens: RS256.
    openssl("genrsa -out service-account.key 2048")
    (WORK / "admin.conf").write_text((CREDENTIALS / "admin.conf").read_text())


def openssl(words, *more):
    done = subprocess.run(["openssl", *words.split(), *map(str, more)], cwd=CREDENTIALS, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"openssl {words}: {done.stderr}")


def kubeconfig(name):
    folder = CREDENTIALS
    cluster = {"server": f"https://{ADDRESS}", "certificate-authority": str(folder / "ca.crt")}
    user = {"client-certificate": str(folder / f"{name}.crt"), "client-key": str(folder / f"{name}.key")}
    (folder / f"{name}.conf").write_text(json.dumps({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": name}}],
        "current-context": "cluster",
    }))


def start(daemons, programs, api):
    # In memory: nothing is kept, and etcd waits for the disk otherwise.
    daemons.start("etcd", [
        programs["etcd"], "--data-dir", "/run/etcd", "--listen-client-urls", "http://127.0.0.1:2379",
        "--advertise-client-urls", "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:2380",
        "--log-level", "warn",
    ])
    daemons.start("kube-apiserver", [
        programs["kube-apiserver"],
        # The address of the service `kubernetes`, so that no proxy has to lead to it.
        "--bind-address", ADDRESS, "--secure-port", "443",
        "--advertise-address", NODE_ADDRESS, "--endpoint-reconciler-type", "none",
        "--etcd-servers", "http://127.0.0.1:2379",
        "--service-cluster-ip-range", "10.98.0.0/24",
        "--tls-cert-file", CREDENTIALS / "apiserver.crt", "--tls-private-key-file", CREDENTIALS / "apiserver.key",
        "--client-ca-file", CREDENTIALS / "ca.crt",
        "--kubelet-client-certificate", CREDENTIALS / "apiserver-kubelet.crt",
        "--kubelet-client-key", CREDENTIALS / "apiserver-kubelet.key",
        "--kubelet-preferred-address-types", "InternalIP",
        "--service-account-issuer", ISSUER,
        "--service-account-key-file", CREDENTIALS / "service-account.key",
        "--service-account-signing-key-file", CREDENTIALS / "service-account.key",
        "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction",
        # What the official chart asks for.
        "--allow-privileged",
        "--profiling=false",
    ])
    # A few seconds on a quiet machine, ten times that on a busy one.
    wait_for("the API server", lambda: daemons.check() or api.request("GET", "/readyz")[0] == 200, 180)
    daemons.start("kube-controller-manager", [
        programs["kube-controller-manager"], "--kubeconfig", CREDENTIALS / "controller-manager.conf",
        "--bind-address", "127.0.0.1", "--leader-elect=false", "--use-service-account-credentials",
        "--service-account-private-key-file", CREDENTIALS / "service-account.key",
        "--root-ca-file", CREDENTIALS / "ca.crt",
        # Nothing else notices that a node is gone.
        "--node-monitor-grace-period", "10s", "--node-monitor-period", "2s",
    ])
    daemons.start("kube-scheduler", [
        programs["kube-scheduler"], "--kubeconfig", CREDENTIALS / "scheduler.conf",
        "--bind-address", "127.0.0.1", "--leader-elect=false",
    ])
