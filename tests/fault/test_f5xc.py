# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""F5 XC down, refusing, drifting, in another's hands: the mirror repairs what it may, and says so."""

import unittest

import lab
from f5xc_client import F5XC

A, B = "203.0.113.7", "203.0.113.8"
V6 = "2001:db8:5::7"
SET = "stanch-v4-000"


class Mirror(unittest.TestCase):
    def setUp(self):
        self.f5 = F5XC(token="word")
        self.addCleanup(self.f5.stop)
        self.lab = lab.Lab.__new__(lab.Lab)  # directories and processes only: no namespaces, no root
        self.lab.processes, self.lab.spaces, self.lab.driver = [], {}, "af_xdp"
        self.lab.dir = lab.tempfile.mkdtemp(prefix="stanch-f5-")
        self.addCleanup(self.lab.close)

    def start(self, token="word", **more):
        self.lab.configure(self.lab.control_section(
            f5={"url": self.f5.url, "token": token, "more": {"min_interval_ms": 50, "reconcile_s": 1} | more}))
        self.lab.start_control()

    def block(self, *what):
        done = self.lab.stanch("block", *what, "--reason", "a test")
        # 2, "differs": it is recorded, and no data plane runs here to apply it.
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)

    def unblock(self, what):
        self.assertIn(self.lab.stanch("unblock", what).returncode, (0, 2))

    def until(self, *prefixes, seconds=15):
        want = sorted([f"{p}/32" for p in prefixes] + ["192.0.2.1/32"])
        lab.wait_for(lambda: self.f5.prefixes() == want, f"F5 holds {want}, not {self.f5.prefixes()}", seconds)

    def why(self, what):
        return self.lab.stanch("why", what).stdout

    def test_create_replace_withdraw(self):
        self.start()
        self.block(A)
        self.until(A)
        self.block(B)
        self.until(A, B)
        lab.wait_for(lambda: "stored" in self.why(A), "the state is read back")
        self.unblock(A)
        self.until(B)
        self.unblock(B)
        self.until()  # never empty
        labels = self.f5.sets()[0]["metadata"]["labels"]
        self.assertEqual(labels, {"stanch-owner": "lab"})

    def test_a_block_while_an_answer_is_under_way(self):
        self.f5.fail(n=2, how="slow", method="GET")
        self.start(reconcile_s=600)
        self.block(A)
        self.until(A)

    def test_referred_and_port_entries(self):
        self.start()
        self.f5.refer(SET)
        self.block(A)
        self.block(f"tcp/{B}:443")
        self.until(A)
        lab.wait_for(lambda: "referred" in self.why(A), "a rule refers to the set")
        self.assertIn("needs policy", self.why(f"tcp/{B}:443"))

    def test_drift_is_repaired(self):
        self.start()
        self.block(A)
        self.until(A)
        stored = self.f5.sets()[0]
        stored["spec"] = {"ipv4_prefixes": [{"ipv4_prefix": "198.51.100.0/24"}]}
        stored["metadata"]["annotations"]["theirs"] = "kept"
        self.f5.put(SET, {"metadata": stored["metadata"], "spec": stored["spec"]})
        self.until(A)
        self.assertEqual(self.f5.sets()[0]["metadata"]["annotations"]["theirs"], "kept")

    def test_failures_are_survived(self):
        self.start()
        self.block(A)
        self.until(A)
        for how in ({"status": 429, "retry_after": 1}, {"status": 500}, {"status": 409, "method": "PUT"},
                    {"how": "close"}, {"how": "late", "method": "PUT"}, {"how": "garbage", "method": "GET"}):
            with self.subTest(how):
                self.f5.fail(n=1, **how)
                self.block(B)
                self.until(A, B, seconds=30)
                self.unblock(B)
                self.until(A, seconds=30)

    def test_a_write_of_one_set_leaves_the_other_stored(self):
        self.start(reconcile_s=600)
        self.block(A)
        self.block(V6)
        lab.wait_for(lambda: len(self.f5.prefixes()) == 4, "both sets are there")
        self.block(B)
        lab.wait_for(lambda: all("stored" in self.why(n) for n in (A, B, V6)), "all three are stored")

    def test_one_400_withdraws_nothing(self):
        self.start()
        self.block(V6)
        lab.wait_for(lambda: "stored" in self.why(V6), "it is stored")
        self.f5.fail(n=1, status=400, method="PUT")
        self.block("2001:db8:5::8")
        lab.wait_for(lambda: "2001:db8:5::8/128" in self.f5.prefixes(), "the second follows")
        for r in self.f5.requests():
            if r["method"] == "PUT":
                self.assertIn(f"{V6}/128", [p["ipv6_prefix"] for p in r["body"]["spec"]["ipv6_prefixes"]])

    def test_dirty_octets_in_answers_and_refusals(self):
        self.start()
        self.block(A)
        lab.wait_for(lambda: "stored" in self.why(A), "it is stored")
        self.f5.fail(n=1000, how="newline", method="GET")
        self.block(B)
        self.until(A, B)
        self.f5.mend()
        self.f5.fail(n=1000, how="bad400", method="PUT")
        self.unblock(B)
        lab.wait_for(lambda: "400" in str(self.lab.stanch_json("status")["followers"]), "the status names 400")

    def test_wrong_token_shows_and_blocks_nothing_here(self):
        self.start(token="ended")
        self.block(A)
        lab.wait_for(lambda: "401" in self.why(A), "the state names 401")
        self.assertEqual(self.lab.stanch_json("why", A)["claims"][0]["state"], "live")

    def test_foreign_object_and_higher_epoch_are_not_written(self):
        for metadata in ({"labels": {}},
                         {"labels": {"stanch-owner": "lab"}, "annotations": {"stanch.revision": "9.1"}}):
            with self.subTest(metadata):
                self.f5.put(SET, {"metadata": {"name": SET, "namespace": "system", **metadata},
                                  "spec": {"ipv4_prefixes": [{"ipv4_prefix": "198.51.100.0/24"}]}})
                if not self.lab.processes:
                    self.start()
                    self.block(A)
                lab.wait_for(lambda: "refused" in self.why(A), "it is refused")
                self.assertEqual(self.f5.prefixes(), ["198.51.100.0/24"])
                self.assertFalse([r for r in self.f5.requests() if r["method"] in ("PUT", "POST")])

    def test_ipv6_refused_by_the_tenant(self):
        self.f5.stop()
        self.f5 = F5XC(token="word", no_ipv6=True)
        self.addCleanup(self.f5.stop)
        self.start()
        self.block("2001:db8::7")
        lab.wait_for(lambda: "refuses IPv6" in self.why("2001:db8::7"), "it says so")


if __name__ == "__main__":
    unittest.main()
