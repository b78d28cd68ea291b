# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""100,000 entries mirrored to F5 XC and withdrawn.

  STANCH_MANY    fewer of them
"""

import os
import unittest

import lab
from f5xc_case import MirrorCase

MANY = int(os.environ.get("STANCH_MANY", "100000"))


class Many(MirrorCase):
    def addresses(self):
        return [f"198.{18 + (i >> 16)}.{i >> 8 & 255}.{i & 255}" for i in range(MANY)]

    def counts(self):
        status = self.lab.stanch_json("f5")
        return status["stored"], status["pending"], status["refused"]

    def test_mirrored_and_withdrawn(self):
        path = self.lab.path("many")
        with open(path, "w", encoding="ascii") as f:
            f.write("\n".join(self.addresses()) + "\n")
        self.start(requests_per_minute=60000, request_burst=1000, reconcile_s=300, min_interval_ms=5000)
        self.lab.stanch("block", "--file", path, "--reason", "a test", "--wait", "0")
        lab.wait_for(lambda: self.counts() == (MANY, 0, 0), f"all are stored: {self.counts()}", 240)
        requests = self.f5.requests()
        self.assertLessEqual(len(requests), 400)
        self.assertEqual({r["status"] for r in requests if r["method"] != "GET"}, {200})
        self.assertEqual(len(self.f5.prefixes()), MANY + len(self.names()))
        self.assertLessEqual(max(len(s["spec"]["ipv4_prefixes"]) for s in self.f5.sets()), 1001)
        self.lab.stanch("unblock", "--file", path, "--wait", "0")
        lab.wait_for(lambda: set(self.f5.prefixes()) == {"192.0.2.1/32"}, "all are withdrawn", 240)


if __name__ == "__main__":
    unittest.main()
