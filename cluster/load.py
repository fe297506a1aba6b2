"""Runs in a pod: asks the agent for credentials all the time, and counts what came of it.

    load.py INTERVAL...    a fresh and a kept-alive client for each interval, in seconds

Prints a line of JSON each second, with the counts since the start. A request that got neither an answer nor an
error within 5 s is unanswered.
"""

import json
import os
import socket
import sys
import threading
import time
import urllib.parse

URI = urllib.parse.urlsplit(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
TOKEN_FILE = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
LIMIT = 5
lock = threading.Lock()
counts = {"fresh": {}, "kept": {}}
failures = []


def main(intervals):
    for interval in map(float, intervals):
        for kind in counts:
            threading.Thread(target=ask, args=(kind, interval), daemon=True).start()
    while True:
        time.sleep(1)
        with lock:
            print(json.dumps({"at": time.time(), "counts": counts, "failures": failures[-10:]}), flush=True)


def ask(kind, interval):
    due, connection = time.monotonic(), None
    while True:
        began = time.time()
        outcome, connection = request(connection)
        with lock:
            counts[kind][outcome] = counts[kind].get(outcome, 0) + 1
            if outcome != "200":
                failures.append(f"{kind} at {began:.3f} for {time.time() - began:.3f} s: {outcome}")
        if kind == "fresh" and connection:
            connection.close()
            connection = None
        due = max(due + interval, time.monotonic())
        time.sleep(max(0, due - time.monotonic()))


def request(connection):
    """What came of it, and the connection if it can be used again."""
    try:
        if connection is None:
            connection = socket.create_connection((URI.hostname, URI.port or 80), LIMIT)
            connection.settimeout(LIMIT)
        with open(TOKEN_FILE, encoding="ascii") as file:
            token = file.read()
        head = f"GET {URI.path} HTTP/1.1\r\nHost: {URI.netloc}\r\nAuthorization: {token}\r\n\r\n"
        connection.sendall(head.encode())
        return answer(connection)
    except ConnectionRefusedError:
        outcome = "refused"
    except (ConnectionResetError, BrokenPipeError):
        outcome = "reset"
    except TimeoutError:
        outcome = "unanswered"
    except OSError as error:
        outcome = str(error)
    if connection:
        connection.close()
    return outcome, None


def answer(connection):
    text = b""
    while b"\r\n\r\n" not in text:
        if not (more := connection.recv(65536)):
            connection.close()
            return "closed", None
        text += more
    head, body = text.split(b"\r\n\r\n", 1)
    lines = head.decode().lower().split("\r\n")
    length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
    while len(body) < length:
        if not (more := connection.recv(65536)):
            connection.close()
            return "cut off", None
        body += more
    status = lines[0].split()[1]
    if "connection: close" in lines:
        connection.close()
        return status, None
    return status, connection


if __name__ == "__main__":
    main(sys.argv[1:])
