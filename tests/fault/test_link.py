# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The link between control and data plane, of the fail table: a set that is nearly full, restarts of
the data plane, and what root does on it while control is away."""

import os
import signal
import subprocess
import unittest

import lab

CAPACITY = 1000  # the least that may be configured


@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")
class Link(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)
        self.lab.__enter__()
        self.lab.configure(self.lab.control_section(), capacity=CAPACITY)
        self.plane = self.lab.start_dataplane()
        self.control = self.lab.start_control()
        self.equal()

    def status(self):
        return self.lab.stanch_json("status") or {}

    def plane_status(self):
        return self.status().get("dataplane", {})

    def equal(self):
        lab.wait_for(lambda: self.plane_status().get("equal"), "the data plane has the list", 30)

    def records(self, action):
        return [r for r in self.lab.stanch_json("audit")["records"] if r["action"] == action]

    def change(self, verb, first, last):
        with open(self.lab.path("list.txt"), "w", encoding="ascii") as f:
            f.writelines(f"198.18.{i >> 8}.{i & 255}\n" for i in range(first, last))
        done = self.lab.stanch(verb, "--file", self.lab.path("list.txt"), "--reason", "a test")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def nearly_full(self):
        return self.plane_status().get("nearly_full")

    def test_set_nearly_full(self):
        self.change("block", 0, 799)
        seen = self.plane_status().get("uptime_s", 0)
        lab.wait_for(lambda: self.plane_status().get("uptime_s", 0) > seen + 1, "newer figures of it")
        self.assertFalse(self.nearly_full())
        self.change("block", 799, 800)
        lab.wait_for(self.nearly_full, "the alarm")
        self.assertIn("nearly full: 800 of 1000 entries", str(self.status()["warnings"]))
        self.assertIn("nearly full", self.lab.stanch("status").stdout)
        self.assertEqual([r["detail"] for r in self.records("alarm")], [{"capacity": 1000, "entries": 800}])
        # An alarm, no failure: the list is applied as before.
        self.assertTrue(self.plane_status()["equal"])
        self.change("unblock", 0, 51)
        lab.wait_for(lambda: not self.nearly_full(), "the end of the alarm")
        self.assertEqual(len(self.records("alarm.end")), 1)

    def test_restarts_are_counted(self):
        self.assertEqual(self.plane_status()["restarts"], 0)
        self.lab.end(self.plane, signal.SIGKILL)
        done = self.lab.stanch("sync", "--force", "--reason", "a test")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("not connected", done.stdout + done.stderr)
        self.plane = self.lab.start_dataplane()
        self.equal()
        self.assertEqual(self.plane_status()["restarts"], 1)
        self.assertIn("1 restart", self.lab.stanch("status").stdout)
        # Control's own restart is none of the data plane's; one while control is away is.
        self.lab.end(self.control, signal.SIGKILL)
        os.unlink(self.lab.path("run", "control.sock"))
        self.control = self.lab.start_control()
        self.equal()
        self.assertEqual(self.plane_status()["restarts"], 1)
        self.lab.end(self.control)
        self.lab.end(self.plane)
        self.plane = self.lab.start_dataplane()
        self.control = self.lab.start_control()
        self.equal()
        self.assertEqual(self.plane_status()["restarts"], 2)
        self.assertEqual(len(self.records("dataplane.restart")), 2)

    def test_root_is_audited_afterwards(self):
        self.lab.end(self.control)
        done = subprocess.run([lab.binary("stanch-dataplane"), "ctl", "allow", "198.18.0.1", "--for", "10m",
                               "--reason", b"caf\xe9 is cut off", "--socket",
                               self.lab.path("run", "dataplane-ctl.sock")], capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.control = self.lab.start_control()
        lab.wait_for(lambda: self.records("breakglass allow"), "the record", 20)
        record, = self.records("breakglass allow")
        self.assertEqual(record["object"], "198.18.0.1")
        self.assertEqual(record["detail"]["reason"], "caf\\xe9 is cut off")


if __name__ == "__main__":
    unittest.main()
