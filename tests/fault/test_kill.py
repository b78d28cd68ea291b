# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""kill -9 of either daemon in the middle of batches and of a full synchronisation: nothing is lost,
nothing un-denied, and both digests are equal afterwards."""

import os
import signal
import unittest

import lab
from lab import WORLD

DENIED, FREE, _ = WORLD
ENTRIES = 20000


@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")
class Kill(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)
        self.lab.__enter__()
        self.lab.configure(self.lab.control_section())
        self.plane = self.lab.start_dataplane()
        self.control = self.lab.start_control()
        self.list = self.lab.path("list.txt")
        with open(self.list, "w", encoding="ascii") as f:
            f.writelines(f"198.18.{i >> 8}.{i & 255}\n" for i in range(ENTRIES))
        self.equal()
        self.assertEqual(self.lab.stanch("block", DENIED, "--reason", "a test").returncode, 0)
        lab.wait_for(lambda: self.lab.arrives(FREE), "a packet crosses the wire", 15)

    def equal(self, seconds=30):
        lab.wait_for(lambda: (self.status() or {}).get("dataplane", {}).get("equal"),
                     "the data plane has the ledger's list", seconds)

    def status(self):
        return self.lab.stanch_json("status")

    def bulk(self):
        return self.lab.spawn(None, lab.binary("stanch"), "block", "--file", self.list, "--reason", "bulk",
                              "--wait", "0", "--socket", self.lab.path("run", "control.sock"),
                              stdout=lab.subprocess.DEVNULL, stderr=lab.subprocess.DEVNULL)

    def entries(self):
        status = self.lab.ctl_status()
        return status["list"]["entries"] if status else 0

    def test_control_and_data_plane(self):
        for part in (2000, 6000, 10000):
            client = self.bulk()
            lab.wait_for(lambda: self.entries() >= part or client.poll() is not None, f"{part} entries", 30)
            self.lab.end(self.control, signal.SIGKILL)
            self.assertFalse(self.lab.arrives(DENIED))
            self.lab.end(client, signal.SIGKILL)
            os.unlink(self.lab.path("run", "control.sock"))
            self.control = self.lab.start_control()
            self.assertFalse(self.lab.arrives(DENIED))
        client = self.bulk()
        lab.wait_for(lambda: self.entries() >= 14000 or client.poll() is not None, "14000 entries", 30)
        self.lab.end(self.plane, signal.SIGKILL)
        self.assertFalse(self.lab.arrives(FREE))
        self.plane = self.lab.start_dataplane()
        client.wait(60)
        self.equal()
        self.assertFalse(self.lab.arrives(DENIED))
        lab.wait_for(lambda: self.lab.arrives(FREE), "the free address is reached again", 15)
        self.same()

    def same(self):
        status, live = self.status(), self.lab.ctl_status()["list"]
        self.assertEqual(live["entries"], ENTRIES + 1)
        self.assertIn(live["digest"], str(status))

    def test_in_the_middle_of_a_full_synchronisation(self):
        client = self.bulk()
        self.assertIn(client.wait(60), (0, 2))
        self.equal()
        for who in ("control", "plane", "control"):
            self.assertEqual(self.lab.stanch("sync").returncode, 0)
            if who == "control":
                self.lab.end(self.control, signal.SIGKILL)
                self.assertFalse(self.lab.arrives(DENIED))
                os.unlink(self.lab.path("run", "control.sock"))
                self.control = self.lab.start_control()
            else:
                self.lab.end(self.plane, signal.SIGKILL)
                self.plane = self.lab.start_dataplane()
            self.assertFalse(self.lab.arrives(DENIED))
            self.equal()
        self.same()


if __name__ == "__main__":
    unittest.main()
