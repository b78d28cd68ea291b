# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""What the mirror sends, held against F5's published OpenAPI document by Prism, a validating proxy."""

import os
import shutil
import socket
import subprocess
import unittest

import lab
from f5xc_case import DOCUMENT, PRISM, Document
from f5xc_client import F5XC


@unittest.skipUnless(os.path.exists(DOCUMENT), f"{DOCUMENT} is absent")
@unittest.skipUnless(os.path.exists(PRISM), "Prism is not installed: scripts/setup test")
class Prism(unittest.TestCase):
    def setUp(self):
        self.f5 = F5XC(token="word", omit_null=True)
        self.addCleanup(self.f5.stop)
        self.lab = lab.Lab.bare()
        self.addCleanup(self.lab.close)
        self.port = lab.free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        with open(self.lab.path("prism.log"), "wb") as log:
            self.lab.spawn(None, shutil.which("node"), PRISM, "proxy", DOCUMENT,
                           f"http://127.0.0.1:{self.f5.port}", "--errors", "-h", "127.0.0.1",
                           "-p", str(self.port), stdout=log, stderr=log)
        lab.wait_for(self.listens, "Prism listens", 60)

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    FAST = {"min_interval_ms": 50, "reconcile_s": 1, "requests_per_minute": 6000, "request_burst": 100}

    def start(self, **more):
        self.lab.configure(self.lab.control_section(
            f5={"url": self.url, "token": "word", "more": self.FAST | more}))
        self.lab.start_control()

    def until_why(self, what, text):
        lab.wait_for(lambda: text in self.lab.stanch("why", what).stdout,
                     f"{what} is {text}: {self.lab.stanch('why', what).stdout}", 30)

    def no_violation(self):
        self.assertNotIn("violation", self.lab.log("prism").lower())
        self.assertEqual({r["status"] for r in self.f5.requests() if r["method"] != "GET"}, {200})
        self.assertTrue(self.f5.passes("192.0.2.200"))

    def test_create_replace_withdraw(self):
        self.start()
        for what in ("203.0.113.7", "198.51.100.0/24"):
            self.lab.stanch("block", what, "--reason", "a test")
            self.until_why(what, "stored")
        self.lab.stanch("unblock", "203.0.113.7")
        lab.wait_for(lambda: self.f5.prefixes() == ["192.0.2.1/32", "198.51.100.0/24"], "it is withdrawn", 30)
        self.no_violation()

    def test_policy_mode_and_the_end_of_a_set(self):
        """Every kind of request that the mirror knows: list, read, create, replace and delete of sets and policy, who
        refers, which site lists it."""
        self.f5.allow_all()
        self.start(policy_before="operator-allow", set_size=1)
        for what in ("203.0.113.7", "203.0.113.8", "tcp/203.0.113.9:443"):
            self.lab.stanch("block", what, "--reason", "a test")
            self.until_why(what, "referred")
        self.f5.firewall("stanch-deny", "operator-allow")
        self.until_why("203.0.113.8", "attached")
        self.lab.stanch("unblock", "203.0.113.8")
        lab.wait_for(lambda: len(self.f5.sets()) == 1, "the set is deleted", 30)
        kinds = {(r["method"], r["path"].split("?")[0].split("/")[5], "?" in r["path"]) for r in self.f5.requests()}
        sets, policies = "ip_prefix_sets", "enhanced_firewall_policys"
        self.assertLessEqual({("GET", sets, False), ("POST", sets, False), ("DELETE", sets, False),
                              ("GET", policies, False), ("POST", policies, False), ("PUT", policies, False),
                              ("GET", "network_firewalls", False)}, kinds)
        self.no_violation()

    def test_what_other_tests_ask_would_notice(self):
        asked = {"method": "POST", "path": "/api/config/namespaces/system/ip_prefix_sets",
                 "body": {"metadata": {"name": "x"}, "spec": {"ipv4_prefixes": [{"ipv4_prefix": "192.0.2.1/32"}]}}}
        self.assertEqual(Document.get().violations([asked]), [])
        asked["body"]["spec"]["ipv4_prefixes"] = "no list"
        self.assertEqual([found[3] for found in Document.get().violations([asked])], [422])
        asked["path"] += "/there/is/none"
        self.assertEqual(len(Document.get().violations([asked])), 1)

    def test_prism_would_notice(self):
        """The proxy is no decoration: a body that F5 would refuse does not get through."""
        done = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST",
             "-H", "Authorization: APIToken word", "-H", "Content-Type: application/json",
             "-d", '{"metadata": {"name": 7}, "spec": {"ipv4_prefixes": "no list"}}',
             f"{self.url}/config/namespaces/system/ip_prefix_sets"],
            capture_output=True, text=True)
        self.assertEqual(done.stdout, "422")


if __name__ == "__main__":
    unittest.main()
