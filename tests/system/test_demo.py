# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The demonstration is the test of the whole path: verdict, wire, F5 XC, who tried, withdrawal."""

import json
import os
import subprocess
import sys
import unittest

import lab


@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")
class Demo(unittest.TestCase):
    def test_every_step(self):
        done = subprocess.run([sys.executable, os.path.join(lab.ROOT, "scripts", "lab", "demo.py"), "--json"],
                              capture_output=True, text=True, timeout=180)
        steps = [json.loads(line) for line in done.stdout.split("\n") if line]
        self.assertFalse([s for s in steps if not s["good"]], done.stdout + done.stderr)
        self.assertEqual(len(steps), 9, done.stdout + done.stderr)
        self.assertEqual(done.returncode, 0)


if __name__ == "__main__":
    unittest.main()
