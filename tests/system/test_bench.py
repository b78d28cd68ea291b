# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""scripts/bench tells every case: a figure, or why there is none. What the figures are is not asked."""

import json
import os
import subprocess
import unittest

import lab as labs

CASES = {
    "fastpath": ["realistic-1M", "realistic-10M", "worst-1M", "worst-10M", "cold-1M", "cold-10M", "rte-hash-10M",
                 "testpmd-1M", "testpmd-10M"],
    "update": ["rate-kept-1M", "rate-kept-10M", "effect-p99"],
    "veth": ["nft-1M", "ipset-1M", "xdphash-1M", "xdplpm-1M", "afxdp-1M"],
}
FIELDS = ["bench", "case", "value", "unit", "peer", "peer_value", "ratio"]


@unittest.skipIf(os.geteuid() != 0, "needs root: huge pages and network namespaces")
class Bench(unittest.TestCase):
    def check(self, name):
        done = subprocess.run([os.path.join(labs.ROOT, "scripts", "bench"), "--json", name], text=True,
                              capture_output=True, env={**os.environ, "STANCH_BENCH_SMALLER": "1000"}, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        told = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(sorted(line["case"] for line in told), sorted(CASES[name]))
        for line in told:
            self.assertEqual([field for field in line if field in FIELDS], FIELDS)
            self.assertTrue(line.get("skipped") or line["value"] > 0, line)

    def test_fastpath(self):
        self.check("fastpath")

    def test_update(self):
        self.check("update")

    def test_veth(self):
        self.check("veth")


if __name__ == "__main__":
    unittest.main()
