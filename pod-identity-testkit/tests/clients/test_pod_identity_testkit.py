"""The helper for Python against the program, as `tests/program/clients.rs` runs it."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from pod_identity_testkit import Mock


def ask(environment):
    """What an SDK does first, and no more."""
    with open(environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]) as file:
        token = file.read()
    uri = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    request = urllib.request.Request(uri, headers={"Authorization": token})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


class Helper(unittest.TestCase):
    def test_a_mock_serves_fails_and_tells(self):
        with Mock("agent", "--namespace", "shop") as mock:
            mock.fault(status=503)
            self.assertEqual(ask(mock.env)[0], 503)
            status, credentials = ask(mock.env)
            self.assertEqual(status, 200)
            seen = mock.requests()
            self.assertEqual(seen[0]["pod"]["namespace"], "shop")
            self.assertEqual(seen[1]["outcome"]["access_key_id"], credentials["AccessKeyId"])

    def test_the_token_is_rotated_and_the_clock_moved(self):
        with Mock() as mock:
            with open(mock.token_file) as file:
                before = file.read()
            mock.advance(90_000)
            self.assertEqual(ask(mock.env)[0], 400)
            mock.rotate()
            self.assertEqual(ask(mock.env)[0], 200)
            with open(mock.token_file) as file:
                self.assertNotEqual(before, file.read())
            mock.fault(status=500, always=True)
            mock.reset()
            self.assertEqual(mock.requests(), [])
            self.assertEqual(ask(mock.env)[0], 200)

    def test_a_scenario_is_lived_through_and_its_gate_released(self):
        with tempfile.TemporaryDirectory() as directory:
            outage = pathlib.Path(directory, "outage.toml")
            outage.write_text('[[timeline]]\nat = "10m"\nagent_fault = { status = 503, until = "all\'s well" }\n')
            with Mock("agent", scenario=outage) as mock:
                self.assertEqual(ask(mock.env)[0], 200)
                mock.advance(600)
                self.assertEqual(ask(mock.env)[0], 503)
                mock.release("all's well")
                self.assertEqual(ask(mock.env)[0], 200)

    def test_what_is_wrong_is_said(self):
        with Mock() as mock:
            with self.assertRaisesRegex(ValueError, "expected 200 to 599"):
                mock.fault(status=1)
        with self.assertRaisesRegex(RuntimeError, "cargo install"):
            Mock(program="/nowhere/to/be/found")
        with self.assertRaisesRegex(RuntimeError, "before it was ready"):
            Mock("agent", "--nonsense")

    def test_a_mock_that_has_ended_is_named(self):
        mock = Mock()
        mock.close()
        with self.assertRaisesRegex(RuntimeError, f"the mock at {mock.endpoint} .* was closed, or has ended"):
            mock.requests()

    def test_a_wait_names_what_it_waits_for(self):
        with Mock() as mock:
            with self.assertRaisesRegex(ValueError, "name requests, answers or idle"):
                mock.wait(5)

    def test_the_environment_of_a_child_has_nothing_earlier_in_the_chain(self):
        with Mock() as mock:
            self.assertIn("PATH", mock.env)
            self.assertEqual(os.environ["AWS_ACCESS_KEY_ID"], "of the caller")
            self.assertNotIn("AWS_ACCESS_KEY_ID", mock.env)

    def test_the_other_mock_is_there_too(self):
        with Mock("eks", "--cluster-name", "prod") as mock:
            self.assertEqual(mock.ready["cluster"], "prod")
            self.assertEqual(mock.env["AWS_ENDPOINT_URL_EKS"], mock.endpoint)

    def test_the_end_of_a_mock_verifies(self):
        with self.assertRaisesRegex(AssertionError, 'no request met {"status":503}'):
            with Mock() as mock:
                mock.fault(status=503)
        with self.assertRaisesRegex(AssertionError, "expected 2 requests, saw 1"):
            with Mock() as mock:
                mock.fault(status=503, optional=True, nth=9)
                mock.expect(times=2, single_flight=True)
                ask(mock.env)
                mock.wait(answers=1, idle=True)
        with self.assertRaisesRegex(KeyError, "the test's own"):
            with Mock() as mock:
                mock.fault(status=503)
                raise KeyError("the test's own")
        with Mock() as mock:
            with self.assertRaisesRegex(TimeoutError, "waited 50ms, saw 0 requests"):
                mock.wait(0.05, requests=1)

    def test_a_mock_without_token_is_one_too(self):
        with Mock("webhook", "--plain", "--identity", "shop/cart") as mock:
            self.assertIsNone(mock.token_file)
            self.assertTrue(mock.endpoint.endswith("/mutate"))
            self.assertEqual(mock.requests(), [])

    def test_a_mock_that_cannot_be_constructed_leaves_no_process(self):
        for says, wanted, timeout in [
            ("not json", json.JSONDecodeError, 30),
            ("{}", KeyError, 30),
            ("", RuntimeError, 0.2),
        ]:
            with tempfile.TemporaryDirectory() as directory:
                pid = pathlib.Path(directory, "pid")
                program = pathlib.Path(directory, "program")
                said = f"echo '{says}'" if says else "true"
                program.write_text(f"#!/bin/sh\necho $$ > {pid}\n{said}\nexec sleep 60\n")
                program.chmod(0o755)
                with self.assertRaises(wanted):
                    Mock(program=program, timeout=timeout)
                with self.assertRaises(ProcessLookupError):
                    os.kill(int(pid.read_text()), 0)

    def test_a_mock_ends_with_the_interpreter_however_that_ends(self):
        for end in ["pass", "os.kill(os.getpid(), 9)", "os._exit(3)", "os.fork() and os.abort(); os.read(0, 1)"]:
            script = (
                "import os; from pod_identity_testkit import Mock; mock = Mock(); "
                f"print(mock.ready['admin']['uri'], flush=True); {end}"
            )
            child = subprocess.Popen(
                [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            uri = child.stdout.readline().strip()
            # A forked child holds the mock's standard input until ours is closed; `wait` would close it.
            while child.poll() is None:
                time.sleep(0.02)
            deadline = time.monotonic() + 20
            while listens(uri):
                self.assertLess(time.monotonic(), deadline, f"it outlives: {end}")
                time.sleep(0.05)
            child.stdin.close()
            child.stdout.close()


def listens(uri):
    address = urllib.parse.urlsplit(uri)
    try:
        socket.create_connection((address.hostname, address.port)).close()
    except ConnectionRefusedError:
        return False
    return True


if __name__ == "__main__":
    unittest.main()
