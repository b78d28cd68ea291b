# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""F5 XC down, refusing, full, in another's hands: the mirror repairs what it may, and says so."""

import os
import signal
import sqlite3
import time
import unittest

import lab
from f5xc_case import A, B, C, FAST, SET, V6, MirrorCase
from f5xc_client import F5XC


class Mirror(MirrorCase):
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

    def test_an_allow_while_an_answer_is_under_way(self):
        self.start(reconcile_s=600)
        self.block(B)
        self.until_why(B, "stored")
        self.f5.fail(n=1, how="hold", method="GET", path="/" + SET)
        self.lab.stanch("f5", "sync")
        lab.wait_for(lambda: self.f5.peer("held"), "the answer is under way")
        self.block(A)
        self.assertIn("pending", self.why(A))
        self.lab.stanch("allow", A, "--reason", "a test")
        self.f5.mend()
        self.block(C)
        self.until(B, C)
        self.assertNotIn(f"{A}/32", str(self.writes()))

    def test_port_entries_are_not_widened(self):
        self.start()
        self.block(f"tcp/{B}:443")
        self.until_why(f"tcp/{B}:443", "not mirrored: needs policy")
        self.block(A)
        self.until(A)

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

    def test_what_is_withdrawn_and_still_there_shows(self):
        self.start()
        self.block(A)
        self.block(B)
        self.until_why(A, "stored")
        self.until_why(B, "stored")
        self.assertIn("f5xc: equal 2 stored\n", self.lab.stanch("status").stdout)
        self.f5.fail(n=1000, status=500, method="PUT")
        self.unblock(A)
        self.until_why(A, "withdrawn: still stored there; writing: 500")
        self.lab.stanch("allow", B, "--reason", "a test")
        self.until_why(B, "not mirrored: allowed or protected: 203.0.113.8; still stored there")
        self.assertIn("f5xc: failing", self.lab.stanch("status").stdout)
        self.f5.mend()
        self.until(seconds=30)
        lab.wait_for(lambda: "F5 XC" not in self.why(A), "it is gone")

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

    def test_a_foreign_object_is_left_out_and_adopted_on_request(self):
        self.theirs(annotations={"note": "theirs"})
        self.start()
        self.block(A)
        self.until_why(A, "stored")
        self.assertEqual(self.names(), [SET, "stanch-v4-001"])
        self.assertEqual(self.f5.sets()[0]["spec"], {"ipv4_prefixes": [{"ipv4_prefix": "198.51.100.0/24"}]})
        self.assertIn("does not bear our owner label", self.warnings())
        self.assertFalse([r for r in self.writes() if r["path"].endswith(SET)])
        self.assertEqual(self.lab.stanch("f5", "adopt", SET).returncode, 64)
        self.assertEqual(self.lab.stanch("f5", "adopt", "nobodys", "--reason", "x").returncode, 1)
        self.assertEqual(self.lab.stanch("f5", "adopt", SET, "--reason", "ours").returncode, 0)
        lab.wait_for(lambda: "198.51.100.0/24" not in self.f5.prefixes(), "what it held is withdrawn")
        self.assertEqual(self.f5.sets()[0]["metadata"]["labels"], {"stanch-owner": "lab"})
        self.assertEqual(self.f5.sets()[0]["metadata"]["annotations"]["note"], "theirs")
        self.assertIn("f5 adopt", self.lab.stanch("audit").stdout)

    def test_a_higher_epoch_is_not_written(self):
        self.theirs(labels={"stanch-owner": "lab"}, annotations={"stanch.revision": "9.1"})
        self.start()
        self.block(A)
        self.until_why(A, "refused: stanch-v4-000 is of a higher epoch")
        self.assertEqual(self.f5.prefixes(), ["198.51.100.0/24"])
        self.assertFalse(self.writes())

    def test_ipv6_refused_by_the_tenant_and_taken_later(self):
        self.f5.stop()
        self.f5 = F5XC(token="word", no_ipv6=True)
        self.addCleanup(self.f5.stop)
        self.start()
        self.block(V6)
        self.until_why(V6, "not mirrored: tenant refuses IPv6")
        self.assertIn("tried again", self.why(V6))
        self.f5.peer("ipv6", {"on": True})
        self.until_why(V6, "stored", 30)

    def test_a_full_set_keeps_what_it_holds(self):
        self.start(set_size=2, max_sets=1)
        kept, new = ["203.0.113.8", "203.0.113.9"], [f"203.0.113.{i}" for i in range(1, 6)]
        for n in kept:
            self.block(n)
        self.until(*kept)
        seen = len(self.writes())
        for n in new:
            self.block(n)
        for n in new:
            self.until_why(n, "refused: full")
        self.assertIn("stored", self.why(kept[0]))
        self.assertIn("the sets are full, 2 of 2 prefixes: 5 entries are refused", self.warnings())
        self.lab.end(self.lab.processes.pop(), signal.SIGKILL)
        os.unlink(self.lab.path("run", "control.sock"))
        self.lab.start_control()  # it knows the places from F5 alone
        self.until_why(new[0], "refused: full")
        self.assertEqual(len(self.writes()), seen)
        self.until(*kept)
        self.unblock(kept[0])
        self.until(new[0], kept[1])
        self.until_why(new[1], "refused: full")
        for n in new[1:]:
            self.unblock(n)
        lab.wait_for(lambda: "is full" not in self.warnings(), "no alarm any more")

    def test_almost_full_alarms(self):
        self.start(set_size=5, max_sets=1)
        for i in range(1, 4):
            self.block(f"203.0.113.{i}")
        self.until("203.0.113.1", "203.0.113.2", "203.0.113.3")
        self.assertNotIn("of 5 prefixes", self.warnings())
        self.block("203.0.113.4")
        lab.wait_for(lambda: "4 of 5 prefixes" in self.warnings(), "it warns at 80 %")

    def test_exceptions_that_cannot_be_read(self):
        self.start()
        self.block(A)
        self.lab.stanch("allow", A, "--reason", "a test")
        self.until_why(A, "allowed or protected")
        ledger = sqlite3.connect(self.lab.path("list", "ledger.db"), timeout=20)
        self.addCleanup(ledger.close)
        ledger.execute("ALTER TABLE allows RENAME TO gone")
        seen = len(self.writes())
        lab.wait_for(lambda: "the ledger could not be read" in self.warnings(), "it says so")
        self.block(B)
        self.until_why(B, "the ledger could not be read, so nothing is written")
        self.assertEqual(len(self.writes()), seen)
        ledger.execute("ALTER TABLE gone RENAME TO allows")
        self.until(B)

    def test_disabled_at_f5_is_shown_and_repaired(self):
        self.start()
        self.block(A)
        self.until_why(A, "stored")
        theirs = self.f5.sets()[0]
        self.f5.fail(n=1000, status=500, method="PUT")
        self.f5.put(SET, {"metadata": theirs["metadata"] | {"disable": True}, "spec": theirs["spec"]})
        self.until_why(A, "pending: not effective: somebody disabled the set at F5")
        self.assertIn("somebody disabled it", self.warnings())
        self.f5.mend()
        self.until_why(A, "stored", 30)
        self.assertFalse(self.f5.sets()[0]["metadata"]["disable"])
        self.assertNotIn("disabled", self.warnings())

    def test_only_a_deny_rule_counts_as_referring(self):
        ref = {"ref": [{"kind": "ip_prefix_set", "namespace": "system", "name": SET}]}
        self.start()
        self.block(A)
        self.f5.refer(SET, "service_policy")
        self.until_why(A, "stored: only service_policy egress refers to it")
        self.f5.refer(SET, "enhanced_firewall_policy")
        self.until_why(A, "stored: referred to by enhanced_firewall_policy egress, whose rules are not known: 404")
        self.f5.policy("enhanced_firewall_policys", "egress", {"rule_list": {"rules": [
            {"allow": {}, "destination_ip_prefix_set": ref}, {"deny": {}, "source_ip_prefix_set": ref}]}})
        self.until_why(A, "stored: referred to by enhanced_firewall_policy egress, of which no deny rule uses it")
        rules = {"rule_list": {"rules": [{"deny": {}, "destination_ip_prefix_set": ref}]}}
        self.f5.policy("enhanced_firewall_policys", "egress", rules)
        self.until_why(A, "referred: by a deny rule of enhanced_firewall_policy egress")
        self.f5.policy("enhanced_firewall_policys", "egress", rules, disable=True)
        self.until_why(A, "stored: referred to by enhanced_firewall_policy egress, which is disabled")
        self.f5.refer(SET, None)
        self.f5.remove("egress", "enhanced_firewall_policys")
        lab.wait_for(lambda: "referred" not in self.why(A), "nothing refers to it any more")

    def test_referrers_told_apart(self):
        self.f5.stop()
        self.f5 = F5XC(token="word", referrers_apart=True)
        self.addCleanup(self.f5.stop)
        self.f5.refer(SET, "network_policy_view")
        self.f5.policy("network_policy_views", "egress", {"egress_rules": [
            {"action": "DENY", "ip_prefix_set": {"ref": [{"namespace": "system", "name": SET}]}}]})
        self.start()
        self.block(A)
        self.until_why(A, "referred: by a deny rule of network_policy_view egress")

    def test_a_network_without_the_allowed_part(self):
        self.start()
        self.block("203.0.113.0/29")
        self.until("203.0.113.0/29")
        self.lab.stanch("allow", "203.0.113.2", "--reason", "a test")
        self.until("203.0.113.0/31", "203.0.113.3", "203.0.113.4/30")
        self.until_why("203.0.113.0/29", "stored: without 203.0.113.2")
        self.lab.stanch("allow", "203.0.113.2", "--end")
        self.until("203.0.113.0/29")

    def test_what_is_written_and_not_there(self):
        self.start()
        self.block(A)
        self.until(A)
        self.f5.fail(n=1000, how="ignored", method="PUT")
        self.block(B)
        self.until_why(B, "pending: it was written, and is not what is read back")
        self.f5.mend()
        self.until(A, B, seconds=30)

    def test_retry_after_has_a_limit(self):
        self.start()
        self.block(A)
        self.until(A)
        self.f5.fail(n=1, status=429, retry_after=10**8, method="GET", path="/" + SET)
        self.block(B)
        lab.wait_for(lambda: self.status()["sets"][0]["error"], "it is refused")
        after = self.status()["sets"][0]["next_ms"] / 1000 - time.time()
        self.assertLessEqual(after, 301)
        self.assertGreater(after, 60)  # longer than its own back-off: they were heard
        self.assertIn("pending: reading: 429", self.why(B))

    def test_retry_after_of_nonsense(self):
        self.start()
        for value in ("soon", "-5", "Thu, 01 Jan 1970 00:00:00 GMT"):
            self.f5.fail(n=1, status=429, retry_after=value)
        self.block(A)
        self.until(A, seconds=60)

    def test_a_new_token_in_the_file(self):
        self.start()
        self.block(A)
        self.until(A)
        self.f5.peer("token", {"token": "other"})
        self.block(B)
        self.until_why(B, "401")
        with open(self.lab.path("f5.token"), "w", encoding="ascii") as f:
            f.write("other\n")
        self.until(A, B, seconds=30)
        self.assertIn("holds another token", self.lab.log("control"))

    def test_reload_applies_every_key(self):
        self.start(set_size=1, max_sets=1)
        self.block(A)
        self.until(A)
        self.block(B)
        self.until_why(B, "refused: full")
        self.reload(more=FAST | {"set_size": 2, "max_sets": 1})
        self.until(A, B)
        self.f5.peer("token", {"token": "other"})
        self.reload(token="other", more=FAST | {"mirror": "[cases]"})
        self.until()
        self.reload(token="other", more=FAST | {"prefix": "new"})
        lab.wait_for(lambda: "new-v4-000" in [s["metadata"]["name"] for s in self.f5.sets()], "a new set is made")
        self.assertIn("the sets stanch-v4-NNN and stanch-v6-NNN", self.lab.log("control"))

    def test_reload_without_the_section_says_so(self):
        self.start()
        self.lab.configure(self.lab.control_section())
        self.lab.processes[-1].send_signal(signal.SIGHUP)
        lab.wait_for(lambda: "needs a restart" in self.lab.log("control"), "it says so")
        self.block(A)
        self.until(A)


if __name__ == "__main__":
    unittest.main()
