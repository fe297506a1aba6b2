"""What kube-proxy does, for the Services that a case names: connections to a Service go to a pod of it."""

import contextlib
import socket
import threading

from . import node


@contextlib.contextmanager
def forward(api, namespace, *services):
    listeners = [listen(api, namespace, service) for service in services]
    try:
        yield
    finally:
        for listener in listeners:
            address = listener.getsockname()[0]
            # The thread that accepts ends with an error.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            node.ip("address", "delete", f"{address}/32", "dev", "lo")


def listen(api, namespace, service):
    """Services of one port."""
    spec = api.get(f"/api/v1/namespaces/{namespace}/services/{service}")["spec"]
    node.ip("address", "replace", f"{spec['clusterIP']}/32", "dev", "lo")
    listener = socket.create_server((spec["clusterIP"], spec["ports"][0]["port"]))

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=connect, args=(client, api, namespace, service), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener


def connect(client, api, namespace, service):
    with client:
        found = api.get(f"/api/v1/namespaces/{namespace}/endpoints/{service}") or {}
        # Those that are ready; without one, the connection ends.
        ready = [it for it in found.get("subsets") or [] if it.get("addresses")]
        if not ready:
            return
        with socket.create_connection((ready[0]["addresses"][0]["ip"], ready[0]["ports"][0]["port"]), 10) as pod:
            pod.settimeout(None)
            back = threading.Thread(target=copy, args=(pod, client), daemon=True)
            back.start()
            copy(client, pod)
            back.join()


def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # Either side may end in any way.
        pass
