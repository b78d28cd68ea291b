# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A case that names what must never be denied: refused, visible in status and audit; the rest holds."""

import unittest

import lab
from thehive_client import TheHive


class Protected(unittest.TestCase):
    def test_protected_address_in_a_case(self):
        one = lab.Lab.bare()
        self.addCleanup(one.close)
        port = lab.free_port()
        with TheHive(version=5, webhook_url=f"http://127.0.0.1:{port}/v1/hooks/thehive",
                     custom_field="stanch-action:string", webhook_auth="bearer:word") as hive:
            one.configure(one.control_section(hive={"url": hive.url, "key": hive.key, "hook": "word"},
                                              listen=f"127.0.0.1:{port}"))
            one.start_control()
            case = hive.case_create("Names the resolver", field="enforce")
            for address in ("10.20.30.40", "127.0.0.1", "203.0.113.7"):
                hive.observable_create(case, address)
            hive.close(case)
            lab.wait_for(lambda: "203.0.113.7" in one.stanch("list").stdout, "the good one is held", 15)
            listed = one.stanch("list").stdout
            self.assertNotIn("10.20.30.40", listed)
            self.assertNotIn("127.0.0.1", listed)
            audit = one.stanch("audit", "--json").stdout
            self.assertIn("10.20.30.40", audit)
            self.assertIn("10.0.0.0/8", audit)
            self.assertGreaterEqual(one.stanch_json("status")["counts"]["refused_protected"], 2)


if __name__ == "__main__":
    unittest.main()
