# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""scripts/bench tells every case: a figure, or why there is none. What the figures are is not asked."""

import json
import os
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

import lab as labs

SIZES = ["1k", "100k", "1M", "10M"]
FIVE = ["1k", "10k", "100k", "1M", "10M"]
VARIANTS = [hits + burst + length for hits in ("", "-hits0") for burst in ("", "-burst64") for length in ("", "-imix")]
CASES = {
    "fastpath": [f"realistic-{size}{variant}" for size in SIZES for variant in VARIANTS]
    + [f"{name}-{size}{hits}" for size in SIZES for name, hits in (("worst", ""), ("worst", "-hits0"), ("cold", ""))]
    + ["rte-hash-10M"]
    + [f"testpmd{io}-{rest}" for io in ("", "-io")
       for rest in ("1M", "1M-hits0", "1M-burst64", "1M-imix")] + ["testpmd-null-1M", "testpmd-null-io-1M"],
    "lookup": ["hosts-1M", "hosts-10M", "hosts-10M-replaced", "mix4-1M", "mix6-1M", "mix6-10M", "rte-fib-100k", "rte-lpm-1k",
               "rte-lpm-100k", "rte-acl-1k", "rte-acl-100k", "xdp-hash-1M", "xdp-hash-10M", "xdp-lpm-100k", "xdp-lpm-1M",
               "hosts-1M-avx512", "hosts-1M-avx2", "hosts-1M-portable", "v4-over-v6-1M"],
    "update": ["rate-kept-1M", "rate-kept-10M", "adds-1M", "removes-1M", "adds-10M", "removes-10M", "effect-p99", "loss-1M"],
    "veth": [f"{peer}-1M" for peer in ("nft", "ipset", "xdphash", "xdplpm", "afxdp")],
    "thehive": ["verdict-to-drop", "verdict-to-drop-p99", "withdraw-to-forward", "withdraw-to-forward-p99",
                "verdict-to-drop-p99-under-sync", "withdraw-to-forward-p99-under-sync", "verdict-to-f5",
                "verdict-to-f5-p99", "verdict-to-drop-realistic", "verdict-to-drop-realistic-p99", "hooks-lost",
                "hooks-lost-median", "hook-answer-1000-closures-p99", "hook-answer-1000-closures-median",
                "enforced-after-1000-closures", "listing-100k", "listing-100k-memory"],
    "f5xc": ["visible-median", "visible-p99", "visible-p99-faulty", "requests-per-1000-blocks", "first-sync-100k-s",
             "first-sync-100k-requests", "prism-violations", "sustained-requests-per-minute", "sustained-visible-p99"],
    "fleet": ["publish-to-drop-median", "publish-to-drop-p99", "list-1M-to-enforced", "list-1M-peak-mib",
              "list-1M-1pct-change", "list-10M-to-enforced", "list-10M-peak-mib", "failover-leader-killed",
              "failover-leader-paused", "failover-redis-killed", "redis-bytes-per-entry", "follower-traffic",
              "follower-traffic-changes", "growth-200"],
    "footprint": ["bytes-v4-10M", "bytes-v4-10M-with-counts", "load-10M", "load-text-10M", "rss-v4-10M",
                  "rss-v4-10M-loaded"],
    "growth": [f"loop-{kind}-{size}" for kind in ("realistic", "random") for size in FIVE]
    + [f"hosts4-{size}-{peer}" for peer in ("hash", "xdp-hash") for size in FIVE]
    + [f"mix6-{size}-lengths" for size in FIVE] + [f"mix4-{size}-{peer}" for peer in ("fib", "xdp-lpm") for size in FIVE[:4]]
    + [f"mix4-{size}-{peer}" for peer in ("lpm", "acl") for size in FIVE[:3]] + ["mix4-10M"],
}
FIELDS = ["bench", "case", "value", "unit", "peer", "peer_value", "ratio"]


@unittest.skipIf(os.geteuid() != 0, "needs root: huge pages and network namespaces")
class Bench(unittest.TestCase):
    def told(self, *words):
        done = subprocess.run([os.path.join(labs.ROOT, "scripts", "bench"), *words], text=True, capture_output=True,
                              env={**os.environ, "STANCH_BENCH_SMALLER": "1000"}, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def check(self, name, *words):
        told = [json.loads(line) for line in self.told("--json", *words, name).splitlines()]
        told = [line for line in told if line["case"] != "node-red"]  # told only where it is not to be had
        self.assertEqual(sorted(line["case"] for line in told), sorted(CASES[name]))
        for line in told:
            self.assertEqual([field for field in line if field in FIELDS], FIELDS)
            self.assertEqual(line["bench"], name)
            for fault in ("not the packets that were meant", "the peer's are", "was refused", "ended"):
                self.assertNotIn(fault, line.get("skipped", ""), line["case"])
            self.assertTrue(line.get("skipped") or line["value"] > 0 or name in ("update", "f5xc"),
                            line)  # nothing lost, no violation: 0

    def test_lookup(self):
        self.check("lookup")

    def test_f5xc(self):
        self.check("f5xc")

    def test_fleet(self):
        self.check("fleet")

    def test_footprint(self):
        self.check("footprint")

    def test_growth(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "growth.svg")
            self.check("growth", "--svg", path)
            root = xml.etree.ElementTree.parse(path).getroot()
        texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
        for text in ("entries of the list", "ns a packet", "10M"):
            self.assertIn(text, texts)
        self.assertTrue(list(root.iter("{http://www.w3.org/2000/svg}polyline")))

    def test_fastpath(self):
        self.check("fastpath")

    def test_update(self):
        self.check("update")

    def test_thehive(self):
        self.check("thehive")

    def test_veth(self):
        self.check("veth")


if __name__ == "__main__":
    unittest.main()
