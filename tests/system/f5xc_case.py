# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A mirror and a stand-in for F5 XC: what the tests of the mirror share."""

import signal
import unittest

import lab
from f5xc_client import F5XC

A, B, C = "203.0.113.7", "203.0.113.8", "203.0.113.9"
V6 = "2001:db8:5::7"
SET = "stanch-v4-000"
FAST = {"min_interval_ms": 50, "reconcile_s": 1, "requests_per_minute": 6000, "request_burst": 100}


class MirrorCase(unittest.TestCase):
    def setUp(self):
        self.f5 = F5XC(token="word")
        self.addCleanup(self.f5.stop)
        self.lab = lab.Lab.bare()
        self.addCleanup(self.lab.close)

    def start(self, token="word", **more):
        self.lab.configure(self.lab.control_section(
            f5={"url": self.f5.url, "token": token, "more": FAST | more}))
        self.lab.start_control()

    def block(self, *what):
        done = self.lab.stanch("block", *what, "--reason", "a test")
        # 2, "differs": it is recorded, and no data plane runs here to apply it.
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)

    def unblock(self, what):
        self.assertIn(self.lab.stanch("unblock", what).returncode, (0, 2))

    def until(self, *prefixes, seconds=15):
        want = sorted([p if "/" in p else f"{p}/32" for p in prefixes] + ["192.0.2.1/32"])
        lab.wait_for(lambda: self.f5.prefixes() == want, f"F5 holds {want}, not {self.f5.prefixes()}", seconds)

    def why(self, what):
        return self.lab.stanch("why", what).stdout

    def until_why(self, what, text, seconds=15):
        lab.wait_for(lambda: text in self.why(what), f"why {what} says {text!r}: {self.why(what)}", seconds)

    def warnings(self):
        return "\n".join(self.lab.stanch_json("status")["warnings"])

    def status(self):
        return [x for x in self.lab.stanch_json("status")["followers"] if x["name"] == "f5xc"][0]

    def names(self):
        return [s["metadata"]["name"] for s in self.f5.sets()]

    def writes(self):
        return [r for r in self.f5.requests() if r["method"] in ("PUT", "POST")]

    def tearDown(self):
        # Whatever was done: what nobody listed still passes at F5.
        self.assertTrue(self.f5.passes("192.0.2.200"))

    def reload(self, **f5):
        self.lab.configure(self.lab.control_section(f5={"url": self.f5.url, "token": "word"} | f5))
        before = self.lab.log("control").count("read again")
        self.lab.processes[-1].send_signal(signal.SIGHUP)
        lab.wait_for(lambda: self.lab.log("control").count("read again") > before, "it is read again")

    def theirs(self, name=SET, **metadata):
        self.f5.put(name, {"metadata": {"name": name, "namespace": "system", **metadata},
                           "spec": {"ipv4_prefixes": [{"ipv4_prefix": "198.51.100.0/24"}]}})
