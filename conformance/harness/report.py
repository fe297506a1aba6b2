"""A line for each case, and the count."""

import contextlib
import os

from .basics import say


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    @contextlib.contextmanager
    def case(self, name):
        try:
            yield
        except Exception as error:  # a case that breaks has failed, whatever broke
            self._fail(name, error)
        else:
            self.passed += 1
            say(f"pass  {name}")

    @contextlib.contextmanager
    def group(self, name):
        """Cases that share what can break before any of them begins."""
        try:
            yield
        except Exception as error:
            self._fail(name, error)

    def missing(self, name, error):
        """What cannot be had here: a failure, unless skipping is allowed."""
        if os.environ.get("CONFORMANCE_ALLOW_SKIP") == "1":
            self.skipped += 1
            say(f"skip  {name}: {error}")
        else:
            self._fail(name, error)

    def close(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        say(f"{self.passed} passed, {self.failed} failed{skipped}")
        return 1 if self.failed else 0

    def _fail(self, name, error):
        self.failed += 1
        say(f"FAIL  {name}: {error}")
