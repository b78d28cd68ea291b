# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Policy mode at F5 XC: rules behind a condition, in an order that never points at nothing."""

import unittest

import lab
from f5xc_case import A, B, C, SET, MirrorCase

OURS, THEIRS = "stanch-deny", "operator-allow"
PLURAL = "enhanced_firewall_policys"


class Policy(MirrorCase):
    def rules(self):
        ours = [p for p in self.f5.policies() if p["metadata"]["name"] == OURS]
        return ours[0]["spec"]["rule_list"]["rules"] if ours else []

    def rule_names(self):
        return [r["metadata"]["name"] for r in self.rules()]

    def attached(self, **more):
        self.f5.allow_all()
        self.start(policy_before=THEIRS, **more)
        self.block(A)
        self.until_why(A, "referred: by a deny rule of stanch-deny, which no site is known to list")
        self.f5.firewall(OURS, THEIRS)
        self.until_why(A, "attached: by a deny rule of stanch-deny, listed by edge; sessions open already")

    def test_rules_deny_what_is_listed_and_nothing_else(self):
        self.attached()
        self.block(f"tcp/{B}:443")
        self.until_why(f"tcp/{B}:443", "attached")
        self.assertEqual(self.rule_names(), ["deny-stanch-v4-000", "deny-tcp-443-000"])
        self.assertFalse(self.f5.passes(A))
        self.assertFalse(self.f5.passes(B))
        self.assertTrue(self.f5.passes(B, port=80))
        self.assertTrue(self.f5.passes(B, proto="UDP"))
        self.block(f"tcp/{C}:443")
        self.until_why(f"tcp/{C}:443", "attached")
        self.assertEqual(len(self.rules()), 2)  # of the same port: one rule
        self.unblock(f"tcp/{B}:443")
        lab.wait_for(lambda: self.f5.passes(B), "it passes again")
        self.assertFalse(self.f5.passes(C))
        self.block("evil.example")
        self.until_why("evil.example", "not mirrored: names need")
        self.assertIn("not mirrored: F5's rules list no IPv6", self.why_of("tcp/[2001:db8::7]:443"))

    def why_of(self, what):
        self.block(what)
        self.until_why(what, "F5 XC")
        return self.why(what)

    def test_an_allow_takes_the_port_entry_out(self):
        self.attached()
        self.block(f"udp/{B}:53")
        self.until_why(f"udp/{B}:53", "attached")
        self.lab.stanch("allow", B, "--reason", "a test")
        self.until_why(f"udp/{B}:53", "not mirrored: allowed or protected")
        lab.wait_for(lambda: self.f5.passes(B, "UDP", 53), "it passes")

    def test_a_set_stands_before_its_rule_and_goes_after_it(self):
        self.attached(set_size=1)
        self.block(B)
        self.until_why(B, "attached")
        self.assertEqual(self.rule_names(), ["deny-stanch-v4-000", "deny-stanch-v4-001"])
        self.unblock(B)
        lab.wait_for(lambda: self.names() == [SET], "the set that nobody needs is deleted", 30)
        order = [(r["method"], r["path"].rsplit("/", 1)[1], [x["metadata"]["name"] for x in r["body"].get(
            "spec", {}).get("rule_list", {}).get("rules", [])]) for r in self.f5.requests()
            if r["method"] in ("POST", "PUT", "DELETE") and r["status"] == 200]
        made = order.index(("POST", "ip_prefix_sets", []), order.index(("POST", "ip_prefix_sets", [])) + 1)
        ruled = order.index(("PUT", OURS, ["deny-stanch-v4-000", "deny-stanch-v4-001"]))
        bare = order.index(("PUT", OURS, ["deny-stanch-v4-000"]), ruled)
        gone = order.index(("DELETE", "stanch-v4-001", []))
        self.assertTrue(made < ruled < bare < gone, order)
        self.assertEqual({r["status"] for r in self.f5.requests() if r["method"] == "DELETE"}, {200})

    def test_nothing_is_added_where_it_would_blackhole(self):
        self.attached()
        before = self.rule_names()
        for order in ([OURS], [THEIRS, OURS]):
            with self.subTest(order):
                self.f5.firewall(*order)
                lab.wait_for(lambda: "would blackhole edge" in self.warnings(), "it alarms")
                self.block(f"tcp/{B}:443")
                self.until_why(f"tcp/{B}:443", "would blackhole edge")
                self.assertEqual(self.rule_names(), before)
                self.f5.firewall(OURS, THEIRS)
                self.until_why(f"tcp/{B}:443", "attached")
                self.unblock(f"tcp/{B}:443")
                lab.wait_for(lambda: self.rule_names() == before, "it is withdrawn")

    def test_a_list_that_names_it_before_it_exists(self):
        self.f5.allow_all()
        self.f5.firewall(OURS)
        self.start(policy_before=THEIRS)
        self.block(A)
        self.until_why(A, "would blackhole edge")
        self.assertEqual([r["body"]["spec"]["rule_list"]["rules"] for r in self.writes() if PLURAL in r["path"]], [[]])
        self.f5.firewall(OURS, THEIRS)
        self.until_why(A, "attached")
        self.assertFalse(self.f5.passes(A))

    def test_policy_before_must_exist_and_end_in_allow(self):
        self.start(policy_before=THEIRS)
        self.block(f"tcp/{B}:443")
        self.until_why(f"tcp/{B}:443", "no rule is added: policy_before operator-allow: there is none")
        self.f5.policy(PLURAL, THEIRS, {"rule_list": {"rules": [
            {"metadata": {"name": "x"}, "allow": {}, "all_sources": {}, "destination_prefix_list": {
                "prefixes": ["198.51.100.0/24"]}}]}})
        self.until_why(f"tcp/{B}:443", "does not end in a rule that allows everything")
        self.f5.policy(PLURAL, THEIRS, {"allow_all": {}}, disable=True)
        self.until_why(f"tcp/{B}:443", "it is disabled")
        self.assertEqual([r for r in self.writes() if PLURAL in r["path"]], [])
        self.f5.policy(PLURAL, THEIRS, {"rule_list": {"rules": [
            {"metadata": {"name": "x"}, "allow": {}, "all_sources": {}, "all_destinations": {}, "all_traffic": {}}]}})
        self.until_why(f"tcp/{B}:443", "referred")

    def test_sites_that_may_not_be_read(self):
        self.attached()
        self.f5.fail(n=100000, status=403, method="GET", path="/edge")
        self.until_why(A, "referred: by a deny rule of stanch-deny, whether edge lists it is not known: 403")
        self.f5.mend()
        self.until_why(A, "attached")

    def test_drift_of_the_policy(self):
        self.attached()
        ours = [p for p in self.f5.policies() if p["metadata"]["name"] == OURS][0]
        rules = ours["spec"]["rule_list"]["rules"]
        allow = {"metadata": {"name": "theirs"}, "allow": {}}
        for spec, metadata in (({"rule_list": {"rules": [allow, *rules]}}, {}), ({"rule_list": {"rules": []}}, {}),
                               ({"allow_all": {}}, {}), (ours["spec"], {"disable": True})):
            with self.subTest((spec, metadata)):
                self.f5.put(OURS, {"metadata": ours["metadata"] | metadata, "spec": spec}, PLURAL)
                lab.wait_for(lambda: self.rules_safe() == rules and not self.f5.passes(A), "it is repaired")
        self.f5.remove(OURS, PLURAL)
        lab.wait_for(lambda: self.rules_safe() == rules, "it is made again")
        self.assertIn("drift: stanch-deny", self.lab.log("control"))

    def rules_safe(self):
        ours = [p for p in self.f5.policies() if p["metadata"]["name"] == OURS and not p["metadata"].get("disable")]
        return ours[0]["spec"].get("rule_list", {}).get("rules") if ours else None

    def test_a_policy_of_somebody_else_is_not_written(self):
        self.f5.allow_all()
        self.f5.policy(PLURAL, OURS, {"allow_all": {}})
        self.start(policy_before=THEIRS)
        self.block(f"tcp/{B}:443")
        self.until_why(f"tcp/{B}:443", "does not bear our owner label")
        self.assertEqual([r for r in self.writes() if PLURAL in r["path"]], [])
        self.assertEqual(self.lab.stanch("f5", "adopt", OURS, "--reason", "ours").returncode, 0)
        self.until_why(f"tcp/{B}:443", "referred")

    def test_128_rules_are_the_end(self):
        self.attached()
        self.block(*[f"tcp/{B}:{port}" for port in range(1000, 1130)])
        self.until_why(f"tcp/{B}:1129", "refused: the policy is full", 30)
        self.until_why(f"tcp/{B}:1000", "attached")
        self.assertEqual(len(self.rules()), 128)
        self.assertIn("128 rules", self.warnings())


if __name__ == "__main__":
    unittest.main()
