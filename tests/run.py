#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Run the Python tests of a layer; one line a test: name, pass|fail|skip, detail (tab-separated).

  tests/run.py LAYER [NAME]     LAYER: system or fault; NAME: file, file.Class or file.Class.test
                                N/M: every Mth file, from the Nth (0 is the first)

Output of the tests goes to standard error.
"""

import os
import sys
import time
import unittest

TESTS = os.path.dirname(os.path.abspath(__file__))


class Result(unittest.TestResult):
    def __init__(self, layer, out):
        super().__init__()
        self.layer, self.out, self.bad = layer, out, 0

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    def tell(self, test, result, detail=""):
        name = test.id().replace(".runTest", "")
        print(f"{self.layer}/{name}", result, detail, sep="\t", file=self.out, flush=True)
        took = time.monotonic() - getattr(self, "begun", time.monotonic())
        print(f"{result:4} {name} ({took:.1f} s)", file=sys.stderr, flush=True)

    def addSuccess(self, test):
        self.tell(test, "pass")

    def addSkip(self, test, reason):
        self.tell(test, "skip", reason)

    def failed(self, test, err):
        self.bad += 1
        print(self._exc_info_to_string(err, test), file=sys.stderr, flush=True)
        self.tell(test, "fail", f"tests/run.py {self.layer} {test.id()}")

    def addFailure(self, test, err):
        self.failed(test, err)

    def addError(self, test, err):
        self.failed(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.failed(test, err)


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in ("system", "fault"):
        print(__doc__.strip(), file=sys.stderr)
        return 64
    layer = sys.argv[1]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a test prints is not a result
    for folder in (os.path.join(TESTS, "peers"), os.path.join(TESTS, "system"), os.path.join(TESTS, layer)):
        sys.path.insert(0, folder)
    loader = unittest.TestLoader()
    part, _, parts = (sys.argv[2] if len(sys.argv) == 3 else "0/1").partition("/")
    if not parts:
        suite = loader.loadTestsFromName(sys.argv[2])
    else:
        suite = unittest.TestSuite(
            loader.loadTestsFromName(name[:-3])
            for name in sorted(name for name in os.listdir(os.path.join(TESTS, layer))
                               if name.startswith("test_") and name.endswith(".py"))[int(part)::int(parts)])
    result = Result(layer, out)
    suite.run(result)
    return 1 if result.bad else 0


if __name__ == "__main__":
    sys.exit(main())
