# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""`stanch preview` and `stanch top` against packets that were counted where they arrive: the workers'
sketch, the link, control and the command line together."""

import os
import signal
import socket
import struct
import unittest

import lab
from lab import INSIDE, WORLD

ONE, THREE, DENIED = WORLD
ROUNDS = 4096  # of one packet to ONE and three to THREE
PORT = 9000
RCVBUFFORCE = 33
DONE, REFUSED, UNAVAILABLE = 0, 1, 69


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def echo():
    body = b"stanch--"
    return struct.pack("!BBHHH", 8, 0, checksum(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + body), 1, 1) + body


@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")
class Preview(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.lab.__enter__()
        cls.lab.configure(cls.lab.control_section())
        cls.plane = cls.lab.start_dataplane()
        cls.control = cls.lab.start_control()
        lab.wait_for(lambda: (cls.lab.stanch_json("status") or {}).get("dataplane", {}).get("equal"),
                     "the data plane has the list", 30)
        lab.wait_for(lambda: cls.lab.arrives(ONE), "a packet crosses the wire", 15)

    def listener(self, address):
        one = self.lab.socket("outside", socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(one.close)
        one.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 64 << 20)
        one.setblocking(False)
        one.bind((address, PORT))
        return one

    def sender(self, kind=socket.SOCK_DGRAM, protocol=0):
        one = self.lab.socket("inside", socket.AF_INET, kind, protocol)
        self.addCleanup(one.close)
        return one

    @staticmethod
    def count(one):
        n = 0
        try:
            while one.recv(2048):
                n += 1
        except BlockingIOError:
            return n

    def preview(self, *words):
        answer = self.lab.stanch_json("preview", *words)
        self.assertIn("cut", answer or {}, answer)
        return answer

    def behind(self):
        """Everything sent before has crossed the wire: what is sent after it has. (To an address that
        no test asks for.)"""
        lab.wait_for(lambda: self.lab.arrives(lab.OUTSIDE), "a packet crosses the wire", 15)

    def within(self, told, truth):
        """Twice as far off as the stated 95 %: once in ten thousand runs."""
        low, high = (told["estimate"] + 2 * (told[k] - told["estimate"]) for k in ("low", "high"))
        self.assertLess(low, truth, told)
        self.assertGreater(high, truth, told)
        self.assertLess(high - low, 2.5 * told["estimate"], "a bound that bounds nothing")

    def test_ratio(self):
        listeners = self.listener(ONE), self.listener(THREE)
        before = [self.preview(a)["seen"]["packets"]["estimate"] for a in (ONE, THREE)]
        sender = self.sender()
        for i in range(ROUNDS):
            for address in (ONE, THREE, THREE, THREE):
                sender.sendto(bytes(100), (address, PORT))
            if i % 256 == 255:  # no more on the way than the ring of a port holds
                self.behind()
        arrived = [self.count(one) for one in listeners]
        self.assertGreater(arrived[0], ROUNDS // 2, "the lab lost too many packets")
        for address, truth, old in zip((ONE, THREE), arrived, before):
            told = self.preview(f"udp/{address}:{PORT}")
            self.within(told["cut"]["packets"], truth + old)
            self.within({k: v / 142 for k, v in told["cut"]["bytes"].items()}, truth + old)
            self.assertEqual(told["sampling"]["rate"], 64)
            self.assertEqual(told["top"][0]["port"], PORT)
            self.assertIsNotNone(told["last"])
            self.assertGreater(told["cut"]["share"]["high"], 0.5 * truth / sum(arrived))
            self.assertEqual(self.preview(f"udp/{address}:{PORT + 1}")["seen"]["packets"]["estimate"], 0)
        top = self.lab.stanch_json("top")["top"]
        self.assertEqual([t["address"] for t in top[:2]], [THREE, ONE])
        text = self.lab.stanch("preview", THREE).stdout
        self.assertIn(f"a block of {THREE} would have cut about", text)
        self.assertIn(f"udp/{THREE}:{PORT}", text)
        self.assertIn(THREE, self.lab.stanch("top").stdout)
        # Neither way: nobody outside has been sent to by anybody else.
        self.assertEqual(self.preview("192.0.2.0/24")["cut"]["packets"]["estimate"], 0)

    def test_what_is_denied_already(self):
        """And what has no port and comes back: echo and its replies, until the block."""
        network = f"{DENIED}/32"
        ping = self.sender(socket.SOCK_RAW, socket.IPPROTO_ICMP)
        ping.setsockopt(socket.SOL_SOCKET, RCVBUFFORCE, 64 << 20)
        ping.bind((INSIDE, 0))

        def pinged():
            for i in range(2048):
                ping.sendto(echo(), (DENIED, 0))
                if i % 512 == 511:
                    self.behind()

        pinged()
        told = self.preview(network)
        self.assertGreater(told["cut"]["packets"]["estimate"], 0)
        self.assertGreater(told["inward_packets"], 0)
        self.assertLess(told["inward_packets"], told["seen"]["packets"]["estimate"])
        self.assertEqual(told["denied_packets"], 0)
        self.assertEqual(told["top"][0]["protocol"], 1)
        done = self.lab.stanch("block", DENIED, "--reason", "a test")
        self.assertEqual(done.returncode, DONE, done.stdout + done.stderr)
        pinged()
        told = self.preview(network)
        self.assertEqual(told["cut"]["packets"]["estimate"], 0)
        self.assertEqual(told["denied_packets"], told["seen"]["packets"]["estimate"])
        self.assertIn("already, by the list as it is", self.lab.stanch("preview", DENIED).stdout)
        done = self.lab.stanch("allow", DENIED, "--reason", "a test")
        self.assertEqual(done.returncode, DONE, done.stdout + done.stderr)
        told = self.preview(network)
        self.assertEqual((told["denied_packets"], told["cut"]["packets"]["estimate"]), (0, 0))
        self.assertGreater(told["spared_packets"], 0)

    def test_refused(self):
        name = self.lab.stanch("preview", "evil.example")
        self.assertEqual(name.returncode, REFUSED, name.stdout)
        self.assertIn("addresses only", name.stderr)
        self.assertEqual(self.lab.stanch("preview", "203.0.113.1/24").returncode, REFUSED)


@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")
class WithoutDataPlane(unittest.TestCase):
    def test_unavailable(self):
        with lab.Lab() as one:
            one.configure(one.control_section())
            plane = one.start_dataplane()
            one.start_control()
            lab.wait_for(lambda: one.stanch("preview", ONE).returncode == DONE, "a preview", 30)
            one.end(plane, signal.SIGKILL)
            lab.wait_for(lambda: one.stanch("preview", ONE).returncode == UNAVAILABLE, "it to be missed", 30)
            self.assertIn("no data plane is connected", one.stanch("preview", ONE).stderr)
            self.assertEqual(one.stanch("top").returncode, UNAVAILABLE)
