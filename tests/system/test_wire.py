# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The wire with real packets: kernel hosts on both sides, judged by what arrives outside."""

import os
import signal
import socket
import struct
import subprocess
import unittest

import lab
from lab import INSIDE, OUTSIDE, WORLD, WORLD6

DENIED, FREE, WATCHED = WORLD


def as_root(cls):
    return unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")(cls)


class WireCase(unittest.TestCase):
    RULES = [DENIED, f"{WATCHED} monitor", WORLD6[0], f"tcp/{FREE}:4444"]
    EXCEPTIONS = []
    SETTINGS = {}
    LIST = True
    DRIVER = "af_xdp"

    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab(driver=cls.DRIVER)
        try:
            cls.lab.__enter__()
            cls.lab.configure(**cls.SETTINGS)
            if cls.LIST:
                lab.write_rules(cls.lab.path("list"), cls.RULES, cls.EXCEPTIONS)
            cls.dataplane = cls.lab.start_dataplane()
        except BaseException:
            cls.lab.close()
            raise
        cls.addClassCleanup(cls.lab.close)

    def settle(self):
        """The wire carries: ARP and ND are through."""
        lab.wait_for(lambda: self.udp_arrives(OUTSIDE), "a packet crosses the wire", 15)

    def udp_arrives(self, address, port=9000, seconds=0.4, payload=b"stanch"):
        """Send one datagram from inside; did it reach the namespace outside (by a packet socket)?"""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sniffer = lab.Sniffer(self.lab)
        sender = self.lab.socket("inside", family, socket.SOCK_DGRAM)
        try:
            sender.sendto(payload, (address, port))
            wanted = socket.inet_pton(family, address)
            return any(wanted in frame and payload in frame for _, frame in sniffer.frames(seconds))
        finally:
            sender.close()
            sniffer.close()

    def connect(self, address, port, seconds=1.0):
        """Kernel TCP from inside. None: connected; else the error."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        client = self.lab.socket("inside", family, socket.SOCK_STREAM)
        client.settimeout(seconds)
        try:
            client.connect((address, port))
            return None
        except OSError as error:
            return error
        finally:
            client.close()

    def listen(self, port, family=socket.AF_INET):
        server = self.lab.socket("outside", family, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", port))
        server.listen(8)
        self.addCleanup(server.close)
        return server

    def reason(self, name):
        return self.lab.ctl_status()["reasons"][name]["packets"]


@as_root
class Enforce(WireCase):
    def setUp(self):
        self.settle()

    def test_free_passes_denied_does_not(self):
        self.assertTrue(self.udp_arrives(FREE))
        before = self.reason("ENTRY_DENY")
        self.assertFalse(self.udp_arrives(DENIED))
        self.assertGreater(self.reason("ENTRY_DENY"), before)

    def test_ipv6(self):
        self.assertTrue(self.udp_arrives(WORLD6[1]))
        self.assertFalse(self.udp_arrives(WORLD6[0]))

    def test_monitor_passes_and_counts(self):
        before = self.reason("ENTRY_MONITOR")
        self.assertTrue(self.udp_arrives(WATCHED))
        self.assertGreater(self.reason("ENTRY_MONITOR"), before)

    def test_kernel_tcp_and_port_entry(self):
        self.listen(4443)
        self.listen(4444)
        self.assertIsNone(self.connect(FREE, 4443))
        self.assertIsInstance(self.connect(FREE, 4444), TimeoutError)
        self.assertIsInstance(self.connect(DENIED, 4443), TimeoutError)

    def test_full_frames_both_ways(self):
        self.assertTrue(self.udp_arrives(FREE, payload=b"f" * 1472))

    def test_inward_from_denied_source(self):
        sniffer = lab.Sniffer(self.lab, "inside")
        self.addCleanup(sniffer.close)
        for source, passes in ((FREE, True), (DENIED, False)):
            sender = self.lab.socket("outside", socket.AF_INET, socket.SOCK_DGRAM)
            sender.bind((source, 0))
            sender.sendto(b"inward-" + source.encode(), (INSIDE, 9001))
            sender.close()
            seen = any(b"inward-" + source.encode() in f for _, f in sniffer.frames(0.4))
            self.assertEqual(seen, passes, source)

    def test_vlan_and_qinq(self):
        """The tag does not hide the address, and comes out as it went in."""
        sender = self.lab.socket("inside", socket.AF_PACKET, socket.SOCK_RAW)
        self.addCleanup(sender.close)
        sender.bind(("eth0", 0))
        for tags in (b"\x81\x00\x00\x64", b"\x88\xa8\x00\x64\x81\x00\x00\xc8"):
            for address, passes in ((FREE, True), (DENIED, False)):
                mark = b"tagged-" + os.urandom(8).hex().encode()
                udp = struct.pack("!HHHH", 9, 9, 8 + len(mark), 0) + mark
                ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                                 socket.inet_aton(INSIDE), socket.inet_aton(address))
                sniffer = lab.Sniffer(self.lab)
                sender.send(b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02" + tags + b"\x08\0" + ip + udp)
                seen = [f for _, f in sniffer.frames(0.4) if mark in f]
                sniffer.close()
                self.assertEqual(bool(seen), passes, (tags, address))

    def test_tunnel(self):
        """The kernel's own VXLAN: what it carries is judged, and its ARP gets through."""
        for name, own, peer, inner in (("inside", INSIDE, OUTSIDE, "198.18.0.1"),
                                       ("outside", OUTSIDE, INSIDE, "198.18.0.2")):
            try:
                self.lab.ip("link", "add", "vx0", "type", "vxlan", "id", "42", "local", own,
                            "remote", peer, "dstport", "4789", name=name)
            except RuntimeError as error:
                self.skipTest(f"no VXLAN here: {error}")
            self.addCleanup(self.lab.ip, "link", "del", "vx0", name=name)
            self.lab.ip("addr", "add", f"{inner}/24", "dev", "vx0", name=name)
            self.lab.ip("link", "set", "vx0", "up", name=name)
        for address in (FREE, DENIED):
            self.lab.ip("route", "add", address, "via", "198.18.0.2", "dev", "vx0", name="inside")
        lab.wait_for(lambda: self.udp_arrives(FREE, payload=b"in a tunnel"),
                     "a packet crosses the tunnel", 15)
        before = self.reason("ENTRY_DENY")
        self.assertFalse(self.udp_arrives(DENIED, payload=b"in a tunnel"))
        self.assertGreater(self.reason("ENTRY_DENY"), before)

    def test_pause_and_allow_of_root(self):
        self.assertFalse(self.udp_arrives(DENIED))
        done = self.lab.ctl("allow", DENIED, "--for", "1h", "--reason", "a test")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(self.udp_arrives(DENIED))
        self.assertEqual(self.lab.ctl("allow", DENIED, "--end").returncode, 0)
        self.assertFalse(self.udp_arrives(DENIED))
        self.assertEqual(self.lab.ctl("pause", "--for", "15m", "--reason", "a test").returncode, 0)
        self.assertTrue(self.udp_arrives(DENIED))
        self.assertEqual(self.lab.ctl("resume").returncode, 0)
        self.assertFalse(self.udp_arrives(DENIED))


@as_root
class Protected(WireCase):
    RULES = [DENIED, "203.0.113.0/24"]
    EXCEPTIONS = [f"except protect {FREE}"]

    def test_protection_is_above_the_list(self):
        self.settle()
        self.assertTrue(self.udp_arrives(FREE))
        self.assertFalse(self.udp_arrives(DENIED))
        self.assertGreater(self.reason("PROTECTED"), 0)


@as_root
class Reset(WireCase):
    SETTINGS = {"reply": "reset"}

    def test_reset_and_prohibited(self):
        self.settle()
        self.assertIsInstance(self.connect(DENIED, 4443), ConnectionRefusedError)
        client = self.lab.socket("inside", socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.settimeout(2)
        client.connect((DENIED, 9))
        client.send(b"x")
        with self.assertRaises(OSError):
            client.recv(10)
        self.assertIsInstance(self.connect(WORLD6[0], 4443), OSError)


@as_root
class NoList(WireCase):
    LIST = False

    def test_nothing_is_forwarded(self):
        sniffer = lab.Sniffer(self.lab)
        self.addCleanup(sniffer.close)
        sender = self.lab.socket("inside", socket.AF_PACKET, socket.SOCK_RAW)
        self.addCleanup(sender.close)
        sender.bind(("eth0", 0))
        for _ in range(20):
            sender.send(b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x08\x06" + b"no-list-mark".ljust(46, b"\0"))
        self.assertFalse([f for _, f in sniffer.frames(1.0) if b"no-list-mark" in f])
        self.assertGreaterEqual(self.reason("NO_LIST"), 1)


@as_root
class Stops(WireCase):
    def test_stop_kill_restart(self):
        """Neither a clean stop nor kill -9 opens the path; a restart has the list before a packet."""
        self.settle()
        self.assertTrue(self.udp_arrives(FREE))
        self.assertEqual(self.lab.end(self.dataplane), 0)
        self.assertFalse(self.udp_arrives(FREE))
        process = self.lab.start_dataplane()
        self.settle()
        self.lab.end(process, signal.SIGKILL)
        self.assertFalse(self.udp_arrives(FREE))
        sniffer = lab.Sniffer(self.lab)
        self.addCleanup(sniffer.close)
        sender = self.lab.socket("inside", socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sender.close)
        self.lab.start_dataplane(ready=False)

        def both_sent():
            for address in (DENIED, FREE):
                sender.sendto(b"restart", (address, 9002))
            seen = [lab.ipv4_of(f) for _, f in sniffer.frames(0.05) if b"restart" in f]
            self.assertFalse([s for s in seen if s and s[1] == DENIED])
            return any(s and s[1] == FREE for s in seen)
        lab.wait_for(both_sent, "the free address is reached after the restart", 20)


@as_root
class Packet(WireCase):
    DRIVER = "af_packet"

    def test_fallback_driver(self):
        self.settle()
        self.assertTrue(self.udp_arrives(FREE))
        self.assertFalse(self.udp_arrives(DENIED))


@as_root
class Queues(WireCase):
    """Two workers; the fallback driver spreads flows over as many queues as it is asked for."""
    DRIVER = "af_packet"
    SETTINGS = {"workers": 2, "lcores": '"0,0,1"' if (os.cpu_count() or 1) > 1 else '"0"'}

    def test_each_queue_is_judged(self):
        self.settle()
        self.assertEqual(self.lab.ctl_status()["workers"], 2)
        sniffer = lab.Sniffer(self.lab)
        self.addCleanup(sniffer.close)
        denied = self.reason("ENTRY_DENY")
        wanted = set()
        for i in range(64):  # flows
            for address in (DENIED, FREE):
                sender = self.lab.socket("inside", socket.AF_INET, socket.SOCK_DGRAM)
                sender.sendto(b"queue-%02d" % i, (address, 9100 + i))
                sender.close()
            wanted.add(b"queue-%02d" % i)
        seen = [f for _, f in sniffer.frames(1.0) if b"queue-" in f]
        self.assertEqual({f[f.index(b"queue-"):][:8] for f in seen}, wanted)
        self.assertEqual({lab.ipv4_of(f)[1] for f in seen}, {FREE})
        self.assertEqual(self.reason("ENTRY_DENY") - denied, 64)
        busy = [w["packets"] for w in self.lab.ctl_status()["per_worker"]]
        self.assertTrue(all(n > 10 for n in busy), busy)


@as_root
class FewQueues(WireCase):
    SETTINGS = {"workers": 2}

    def test_runs_with_as_many_workers_as_queues(self):
        self.settle()
        self.assertEqual(self.lab.ctl_status()["workers"], 1)
        self.assertIn("has 1 queues for 2 workers: only 1 run", self.lab.log("dataplane"))
        self.assertTrue(self.udp_arrives(FREE))
        self.assertFalse(self.udp_arrives(DENIED))


@as_root
class Refuses(unittest.TestCase):
    def test_interface_with_an_address(self):
        with lab.Lab() as one:
            one.configure()
            lab.write_rules(one.path("list"), [DENIED])
            one.ip("addr", "add", "10.99.0.1/24", "dev", "in0", name="gateway")
            process = one.start_dataplane(ready=False)
            self.assertNotEqual(process.wait(20), 0)
            self.assertIn("has an address", one.log("dataplane"))

    def test_pair_of_two_mtus(self):
        with lab.Lab() as one:
            one.configure()
            lab.write_rules(one.path("list"), [DENIED])
            one.ip("link", "set", "out0", "mtu", "1400", name="gateway")
            process = one.start_dataplane(ready=False)
            self.assertNotEqual(process.wait(20), 0)
            self.assertIn("MTU 1500 and 1400 differ", one.log("dataplane"))

    def test_check_names_the_place(self):
        with lab.Lab() as one:
            path = one.configure(on_stop="bypass")
            done = subprocess.run([lab.binary("stanch-dataplane"), "--config", path, "--check"],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn("dataplane.on_stop", done.stderr)


if __name__ == "__main__":
    unittest.main()
