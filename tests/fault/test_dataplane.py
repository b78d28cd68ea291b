# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Rows of the fail table that the data plane answers for, with real packets."""

import os
import signal
import socket
import stat
import time
import unittest

import lab
from lab import WORLD

DENIED, FREE, ENDING = WORLD


@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")
class Fault(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)
        self.lab.__enter__()

    def start(self, rules=(DENIED,), control="", devices=None, **settings):
        environment = settings.pop("environment", None)
        ready = settings.pop("ready", True)
        self.lab.configure(control, devices, **settings)
        if rules is not None:
            lab.write_rules(self.lab.path("list"), rules)
        options = {"env": {**os.environ, **environment}} if environment else {}
        return self.lab.start_dataplane(ready=ready, **options)

    def settle(self):
        lab.wait_for(lambda: self.lab.arrives(FREE), "a packet crosses the wire", 15)

    def health(self):
        """Status line of /healthz, asked inside the gateway's namespace."""
        client = self.lab.socket("gateway", socket.AF_INET, socket.SOCK_STREAM)
        client.settimeout(3)
        try:
            client.connect(("127.0.0.1", 9464))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while chunk := client.recv(4096):
                answer += chunk
            return answer.decode()
        finally:
            client.close()

    def test_control_dead(self):
        """The last list stays, ends still come, root's hand works."""
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6))
        self.start([DENIED, f"{ENDING} until={end}"])
        self.settle()
        self.assertFalse(self.lab.arrives(DENIED))
        self.assertFalse(self.lab.arrives(ENDING))
        lab.wait_for(lambda: self.lab.arrives(ENDING), "the entry becomes inert at its end", 20)
        self.assertFalse(self.lab.arrives(DENIED))
        self.assertEqual(self.lab.ctl_status()["list"]["entries"], 2)
        self.assertEqual(self.lab.ctl("allow", DENIED, "--for", "1h", "--reason", "x").returncode, 0)
        self.assertTrue(self.lab.arrives(DENIED))

    def test_control_killed_while_linked(self):
        process = self.start(None, self.lab_control())
        control = self.lab.start_control()
        lab.wait_for(lambda: self.lab.ctl_status()["list"]["origin"] == "control", "control's list is there")
        self.settle()
        self.lab.end(control, signal.SIGKILL)
        self.assertTrue(self.lab.arrives(FREE))
        self.assertIsNone(process.poll())

    def lab_control(self):
        os.makedirs(self.lab.path("list"), exist_ok=True)
        return self.lab.control_section()

    def test_clock_before_the_list_holds_the_ends(self):
        """The list was written tomorrow, so this machine's clock is wrong: no end takes effect by it."""
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 4))
        self.lab.configure()
        lab.write_rules(self.lab.path("list"), [DENIED, f"{ENDING} until={end}"])
        files = [self.lab.path("list", name) for name in ("deny.rules", "deny.journal")]
        for path in files:
            os.utime(path, (time.time() + 86400,) * 2)
        self.lab.start_dataplane()
        self.settle()
        self.assertTrue(self.lab.ctl_status()["ends_held"])
        begun = time.monotonic()
        while time.monotonic() < begun + 5:
            self.assertFalse(self.lab.arrives(ENDING))
        for path in files:
            os.utime(path)
        lab.wait_for(lambda: self.lab.arrives(ENDING), "the clock fits, the end takes effect", 20)
        self.assertFalse(self.lab.ctl_status()["ends_held"])
        self.assertFalse(self.lab.arrives(DENIED))

    def test_link_is_down_without_a_list(self):
        """Where the driver can set a link (a tap can), it is down until there is a list, and at a stop."""
        def up(device):
            done = self.lab.run("gateway", "ip", "-o", "link", "show", device, capture_output=True, text=True)
            return "UP" in done.stdout.partition("<")[2].partition(">")[0].split(",")
        taps = [f'vdev: "net_tap{i},iface=tap{i}"' for i in (0, 1)]
        self.start(None, self.lab_control(), devices=taps)
        lab.wait_for(lambda: self.lab.ctl_status()["ready"], "ports are started")
        self.assertFalse(up("tap0") or up("tap1"))
        self.lab.start_control()  # its empty revision 1 is a list
        lab.wait_for(lambda: up("tap0") and up("tap1"), "control's list sets the links up")
        self.assertIn("port inside: link up", self.lab.log("dataplane"))

    def test_link_is_up_with_start_open(self):
        taps = [f'vdev: "net_tap{i},iface=tap{i}"' for i in (0, 1)]
        self.start(None, devices=taps, start="open")
        lab.wait_for(lambda: self.lab.ctl_status()["ready"], "ports are started")
        self.assertNotIn("link down", self.lab.log("dataplane"))

    def test_pause_survives_a_restart(self):
        process = self.start()
        self.settle()
        self.assertEqual(self.lab.ctl("pause", "--for", "15m", "--reason", "x").returncode, 0)
        self.assertTrue(self.lab.arrives(DENIED))
        self.lab.end(process, signal.SIGKILL)
        self.lab.start_dataplane()
        self.settle()
        self.assertTrue(self.lab.ctl_status()["paused"])
        self.assertTrue(self.lab.arrives(DENIED))

    def test_damaged_snapshot(self):
        """The previous pair is used, and it says so; half a new one beside it changes nothing."""
        self.lab.configure()
        folder = self.lab.path("list")
        lab.write_rules(folder, [DENIED])
        for name in ("deny.rules", "deny.journal"):
            os.rename(os.path.join(folder, name), os.path.join(folder, name + ".prev"))
        lab.write_rules(folder, [DENIED, ENDING], revision="1.2")
        with open(os.path.join(folder, "deny.rules"), "r+b") as f:
            f.seek(-30, os.SEEK_END)
            f.write(b"#")
        with open(os.path.join(folder, "deny.rules.tmp"), "wb") as f:
            f.write(b"stanch-rules 1 ledger=")
        self.lab.start_dataplane()
        self.settle()
        self.assertFalse(self.lab.arrives(DENIED))
        self.assertTrue(self.lab.ctl_status()["previous_list"])
        self.assertIn("deny.rules", self.lab.log("dataplane"))

    def test_nothing_verifies(self):
        """Without a list that verifies nothing is forwarded."""
        self.lab.configure()
        lab.write_rules(self.lab.path("list"), [DENIED])
        with open(self.lab.path("list", "deny.rules"), "ab") as f:
            f.write(b"203.0.113.99\n")
        self.lab.start_dataplane()
        self.assertFalse(self.lab.arrives(FREE))
        self.assertIn("503", self.health().split("\r\n")[0])

    def test_start_open(self):
        self.start(None, start="open")
        lab.wait_for(lambda: self.lab.arrives(FREE), "start: open forwards", 15)

    def test_worker_stalls(self):
        self.start(environment={"STANCH_TEST_STALL_AT": "20000"})
        lab.wait_for(lambda: self.lab.ctl_status()["workers_stalled"] == 1, "the watchdog sees it", 30)
        self.assertIn("503", self.health().split("\r\n")[0])
        self.assertIn("no progress", self.lab.log("dataplane"))
        # What the kernel then drops for a full ring is in the port's counters.
        sender = self.lab.socket("inside", socket.AF_PACKET, socket.SOCK_RAW)
        self.addCleanup(sender.close)
        sender.bind(("eth0", 0))
        for _ in range(6000):
            sender.send(b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x08\x06" + bytes(46))
        lab.wait_for(lambda: self.lab.ctl_status()["ports"][0]["rx_missed"] > 1000, "lost packets are counted")

    def test_worker_stalls_and_it_exits(self):
        process = self.start(environment={"STANCH_TEST_STALL_AT": "20000"}, on_stall="exit", ready=False)
        self.assertNotEqual(process.wait(30), 0)

    def test_stop_with_bypass_runs_the_hook(self):
        told, hook = self.lab.path("told"), self.lab.path("hook")
        with open(hook, "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\ntouch {told}\n")
        os.chmod(hook, stat.S_IRWXU)
        process = self.start(on_stop="bypass", on_stop_hook=hook)
        self.settle()
        self.assertFalse(os.path.exists(told))
        self.assertEqual(self.lab.end(process), 0)
        self.assertTrue(os.path.exists(told))

    def test_health_follows_carrier(self):
        self.start()
        self.settle()
        lab.wait_for(lambda: " 200 " in self.health().split("\r\n")[0], "healthy", 10)
        self.lab.ip("link", "set", "eth0", "down", name="outside")
        lab.wait_for(lambda: " 503 " in self.health().split("\r\n")[0], "unhealthy without carrier", 10)


if __name__ == "__main__":
    unittest.main()
