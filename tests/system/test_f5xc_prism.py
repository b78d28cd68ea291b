# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""What the mirror sends, held against F5's published OpenAPI document by Prism, a validating proxy."""

import os
import shutil
import socket
import subprocess
import unittest

import lab
from f5xc_client import F5XC

PRISM = os.path.join(lab.ROOT, "tests", "peers", "node_modules", ".bin", "prism")
DOCUMENT = os.path.join(os.environ.get("STANCH_SHARED_DATA", os.path.join(lab.ROOT, "..", "shared", "data")),
                        "f5xc", "xc-openapi.json")


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

    def test_create_replace_withdraw(self):
        self.lab.configure(self.lab.control_section(
            f5={"url": self.url, "token": "word", "more": {"min_interval_ms": 50}}))
        self.lab.start_control()
        for what in ("203.0.113.7", "198.51.100.0/24"):
            self.lab.stanch("block", what, "--reason", "a test")
            lab.wait_for(lambda: "stored" in self.lab.stanch("why", what).stdout, f"{what} is stored", 30)
        self.lab.stanch("unblock", "203.0.113.7")
        lab.wait_for(lambda: self.f5.prefixes() == ["192.0.2.1/32", "198.51.100.0/24"], "it is withdrawn", 30)
        self.assertNotIn("violation", self.lab.log("prism").lower())
        self.assertEqual({r["status"] for r in self.f5.requests() if r["method"] in ("POST", "PUT")}, {200})

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
