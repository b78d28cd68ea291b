# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Disks and a list that are full: what is refused, what still works, what comes back."""

import os
import signal
import subprocess
import unittest

import lab
from lab import WORLD
from thehive_client import TheHive

FIRST, SECOND, THIRD = WORLD


@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces and mounts")
class DiskFull(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)
        self.lab.__enter__()
        for folder, size in (("list", "16m"), ("state", "256k")):
            path = self.lab.path(folder)
            os.makedirs(path, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "none", path], check=True)
            self.addCleanup(subprocess.run, ["umount", "-l", path], check=True)
        # Before what is mounted goes, the daemons end.
        self.addCleanup(lambda: [self.lab.end(p) for p in reversed(self.lab.processes)])

    def fill(self, folder):
        """To the last octet."""
        with open(self.lab.path(folder, "filler"), "ab", buffering=0) as f:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while f.write(b"x" * size) == size:
                        pass
                except OSError:
                    pass
        free = os.statvfs(self.lab.path(folder)).f_bavail
        self.assertEqual(free, 0)

    def stanch(self, *words, code=0):
        done = self.lab.stanch(*words)
        self.assertEqual(done.returncode, code, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def test_blocks_are_refused_the_rest_works(self):
        port = lab.free_port()
        with TheHive(version=5, webhook_url=f"http://127.0.0.1:{port}/v1/hooks/thehive",
                     custom_field="stanch-action:string", webhook_auth="bearer:word") as hive:
            section = {"url": hive.url, "key": hive.key, "hook": "word",
                       "more": {"index_delay_ms": 200, "incremental_s": 1}}
            self.lab.configure(self.lab.control_section(hive=section, listen=f"127.0.0.1:{port}"))
            dataplane = self.lab.start_dataplane()
            control = self.lab.start_control()
            lab.wait_for(lambda: self.lab.arrives(FIRST), "a packet crosses the wire", 20)
            self.stanch("block", FIRST, "--reason", "before")
            self.assertFalse(self.lab.arrives(FIRST))
            self.fill("list")
            self.fill("state")

            said = self.stanch("block", SECOND, "--reason", "x", code=1)
            self.assertIn("space", said)
            case = hive.case_create("While the disk is full", field="enforce")
            hive.observable_create(case, THIRD)
            hive.close(case)
            lab.wait_for(lambda: self.lab.stanch_json("status")["counts"]["refused_full"] >= 2,
                         "the case's block is refused and counted")
            self.assertTrue(self.lab.arrives(SECOND))
            self.assertFalse(self.lab.arrives(FIRST))

            # Root's hand, an allow, a pause and a withdrawal need no space that is not there.
            self.assertEqual(self.lab.ctl("allow", FIRST, "--for", "1h", "--reason", "x").returncode, 0)
            self.assertTrue(self.lab.arrives(FIRST))
            self.assertEqual(self.lab.ctl("allow", FIRST, "--end").returncode, 0)
            self.assertFalse(self.lab.arrives(FIRST))
            self.stanch("allow", FIRST, "--for", "1h", "--reason", "x")
            self.assertTrue(self.lab.arrives(FIRST))
            self.stanch("allow", FIRST, "--end")
            self.assertFalse(self.lab.arrives(FIRST))
            self.stanch("pause", "--for", "15m", "--reason", "x")
            self.assertTrue(self.lab.arrives(FIRST))
            self.stanch("resume")
            self.assertFalse(self.lab.arrives(FIRST))

            # Both killed and started on full disks: what was denied is denied.
            for process in (control, dataplane):
                self.lab.end(process, signal.SIGKILL)
            self.lab.start_dataplane()
            control = self.lab.start_control()
            lab.wait_for(lambda: self.lab.arrives(THIRD), "a packet crosses the wire", 20)
            self.assertFalse(self.lab.arrives(FIRST))
            self.stanch("unblock", FIRST)
            lab.wait_for(lambda: self.lab.arrives(FIRST), "the withdrawal takes effect")

            # Space again: blocks work, and the case is read again by itself.
            for folder in ("list", "state"):
                os.unlink(self.lab.path(folder, "filler"))
            lab.wait_for(lambda: not self.lab.arrives(THIRD), "the case's block comes back", 60)
            self.stanch("block", SECOND, "--reason", "x")
            self.assertFalse(self.lab.arrives(SECOND))


class SetFull(unittest.TestCase):
    def test_refused_with_count_and_limit_and_back_when_there_is_room(self):
        one = lab.Lab.bare()
        self.addCleanup(one.close)
        port = lab.free_port()
        with TheHive(version=5, webhook_url=f"http://127.0.0.1:{port}/v1/hooks/thehive",
                     custom_field="stanch-action:string", webhook_auth="bearer:word") as hive:
            section = {"url": hive.url, "key": hive.key, "hook": "word",
                       "more": {"index_delay_ms": 200, "incremental_s": 600}}
            one.configure(one.control_section(hive=section, listen=f"127.0.0.1:{port}",
                                              extra="  ledger: {max_entries: 3}\n"))
            one.start_control()
            for i in (1, 2, 3):  # 2: nothing has applied it yet
                self.assertIn(one.stanch("block", f"198.18.0.{i}", "--reason", "x").returncode, (0, 2))
            done = one.stanch("block", FIRST, "--reason", "x")
            self.assertEqual(done.returncode, 1)
            self.assertIn("3 of 3", done.stdout + done.stderr)
            case = hive.case_create("One too many", field="enforce")
            hive.observable_create(case, SECOND)
            hive.close(case)
            lab.wait_for(lambda: one.stanch_json("status")["counts"]["refused_full"] >= 2, "it is refused", 15)
            self.assertNotIn(SECOND, one.stanch("list").stdout)
            # A withdrawal works, and what was refused takes its place without being asked.
            self.assertIn(one.stanch("unblock", "198.18.0.1").returncode, (0, 2))
            lab.wait_for(lambda: SECOND in one.stanch("list").stdout, "the case's block is there", 15)


if __name__ == "__main__":
    unittest.main()
