"""The helper for Python against the program, as `tests/program/clients.rs` runs it."""

import json
import os
import pathlib
import tempfile
import unittest
import urllib.error
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

    def test_the_environment_of_a_child_has_nothing_earlier_in_the_chain(self):
        with Mock() as mock:
            self.assertIn("PATH", mock.env)
            self.assertEqual(os.environ["AWS_ACCESS_KEY_ID"], "of the caller")
            self.assertNotIn("AWS_ACCESS_KEY_ID", mock.env)

    def test_the_other_mock_is_there_too(self):
        with Mock("eks", "--cluster-name", "prod") as mock:
            self.assertEqual(mock.ready["cluster"], "prod")
            self.assertEqual(mock.env["AWS_ENDPOINT_URL_EKS"], mock.endpoint)


if __name__ == "__main__":
    unittest.main()
