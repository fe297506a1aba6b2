"""A loopback S3 for clients that show their credentials to nobody: it says who signed a request."""

import http.server
import re
import sys
import threading


def signer(ask):
    """The access key id that signed the requests which `ask(port)` makes. Without one, this is the end."""
    headers = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            headers.append(self.headers.get("Authorization", ""))
            self.send_response(200)
            self.send_header("ETag", '"0"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_ignored):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ask(server.server_port)
    keys = {key for header in headers for key in re.findall(r"Credential=(\w+)/", header)}
    if len(keys) != 1 or not all(headers):
        sys.exit(f"{len(headers)} requests, signed by {', '.join(sorted(keys)) or 'nobody'}")
    return keys.pop()
