#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""stanch-replay as a program: link types, output, directions, bad input, exit status.

  replay_cli.py STANCH_REPLAY [TEST…]
"""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

REPLAY = ""
ETHERNET, NULL, RAW, LOOP, SLL, IPV4, IPV6, SLL2 = 1, 0, 101, 108, 113, 228, 229, 276


def udp(src, dst, dport=53):
    payload = struct.pack(">HHHH", 4000, dport, 8, 0)
    if ":" in dst:
        return (struct.pack(">IHBB", 6 << 28, len(payload), 17, 64)
                + socket.inet_pton(socket.AF_INET6, src)
                + socket.inet_pton(socket.AF_INET6, dst) + payload)
    return (struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0)
            + socket.inet_aton(src) + socket.inet_aton(dst) + payload)


def ether(packet, kind=0x0800, tags=()):
    head = bytes.fromhex("020000000002020000000001")
    for tag in tags:
        head += struct.pack(">HH", tag, 5)
    return head + struct.pack(">H", kind) + packet


def pcap(link, packets):
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    for packet in packets:
        out += struct.pack("<IIII", 1, 2, len(packet), len(packet)) + packet
    return out


def pcapng(link, packets):
    def block(kind, body):
        body += b"\0" * (-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    out = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    out += block(1, struct.pack("<HHI", link, 0, 0))
    for packet in packets:
        out += block(6, struct.pack("<IIIII", 0, 0, 0, len(packet), len(packet)) + packet)
    return out


BAD4, GOOD4 = udp("10.0.0.1", "203.0.113.7"), udp("10.0.0.1", "203.0.113.8")
BAD6, GOOD6 = udp("fd00::1", "2001:db8::7"), udp("fd00::1", "2001:db8::8")
BACK4 = udp("203.0.113.7", "10.0.0.1")
RULES = "203.0.113.7\n2001:db8::7\n"
DENY4, DENY6 = ("drop", "ENTRY_DENY", "203.0.113.7"), ("drop", "ENTRY_DENY", "2001:db8::7")
PASS, NON_IP = ("forward", "NO_ENTRY", None), ("drop", "NON_IP", None)


class Replay(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.rules = self.file("deny.rules", RULES.encode())

    def file(self, name, data):
        path = os.path.join(os.fsencode(self.folder.name), os.fsencode(name))
        with open(path, "wb") as f:
            f.write(data)
        return path

    def run_replay(self, *args, status=0):
        done = subprocess.run([REPLAY, *args], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def judge(self, *args, status=0):
        out, self.err = self.run_replay("--rules", self.rules, "--json", *args, status=status)
        self.rows = [json.loads(line) for line in out.splitlines()]
        return [(r["verdict"], r["reason"], r.get("entry")) for r in self.rows]

    def link(self, link, packets, expected, write=pcap):
        path = self.file("link.pcap", write(link, packets))
        self.assertEqual(self.judge(path), expected)

    def test_ethernet(self):
        self.link(ETHERNET, [ether(BAD4), ether(GOOD4), ether(BAD6, 0x86DD, [0x88A8, 0x8100]),
                             ether(BAD4, 0x1234)], [DENY4, PASS, DENY6, NON_IP])

    def test_raw(self):
        self.link(RAW, [BAD4, GOOD4, BAD6, GOOD6, b"\x55" * 40],
                  [DENY4, PASS, DENY6, PASS, ("drop", "BAD_IP_VERSION", None)])
        self.link(IPV4, [BAD4, GOOD4, BAD6], [DENY4, PASS, ("drop", "BAD_IP_VERSION", None)])
        self.link(IPV6, [BAD6, GOOD6, BAD4], [DENY6, PASS, ("drop", "BAD_IP_VERSION", None)])

    def test_null_and_loopback(self):
        for family in (24, 28, 30, 10):
            self.link(NULL, [struct.pack("<I", 2) + BAD4, struct.pack(">I", 2) + GOOD4,
                             struct.pack("<I", family) + BAD6, struct.pack(">I", family) + GOOD6],
                      [DENY4, PASS, DENY6, PASS])
        self.link(LOOP, [struct.pack(">I", 2) + BAD4, struct.pack(">I", 7) + BAD4, b"\0\0",
                         struct.pack(">I", 2) + BAD6],
                  [DENY4, NON_IP, ("drop", "BAD_ETHERNET", None), ("drop", "BAD_IP_VERSION", None)])

    def test_cooked(self):
        def v1(protocol, arphrd=1, kind=4):
            return struct.pack(">HHH8sH", kind, arphrd, 6, b"", protocol)

        def v2(protocol, arphrd=1, kind=4):
            return struct.pack(">HHIHBB8s", protocol, 0, 3, arphrd, kind, 6, b"")

        for link, head, length in ((SLL, v1, 16), (SLL2, v2, 20)):
            self.link(link, [head(0x0800) + BAD4, head(0x0800, 772) + GOOD4, head(0x86DD) + BAD6,
                             head(0x8100) + struct.pack(">HH", 5, 0x0800) + BAD4,
                             head(0x0800, 824) + GOOD4, head(4) + b"\x42\x42\x03" + b"\0" * 35,
                             head(0x88CC, 1, 2) + b"\0" * 40, head(0x0806) + b"\0" * 28,
                             head(0x0800)[:length - 1], head(0x0800)],
                      [DENY4, PASS, DENY6, DENY4, NON_IP, NON_IP,
                       ("forward", "LINK_PROTOCOL", None), ("forward", "LINK_PROTOCOL", None),
                       ("drop", "BAD_ETHERNET", None), ("drop", "BAD_IPV4_HEADER", None)])

    def test_pcapng(self):
        self.link(ETHERNET, [ether(BAD4), ether(GOOD4)], [DENY4, PASS], write=pcapng)

    def test_json(self):
        one = self.file("one.pcap", pcap(RAW, [GOOD4, BAD4]))
        odd = self.file(b'odd "\xff\\\n.pcap', pcap(RAW, [BAD6]))
        self.judge(one, odd)
        self.assertEqual(self.rows[0], {"file": os.fsdecode(one), "packet": 1,
                                        "verdict": "forward", "reason": "NO_ENTRY"})
        self.assertEqual(self.rows[1], {"file": os.fsdecode(one), "packet": 2, "verdict": "drop",
                                        "reason": "ENTRY_DENY", "entry": "203.0.113.7"})
        self.assertEqual(self.rows[2]["packet"], 1)
        self.assertTrue(self.rows[2]["file"].endswith('odd "\ufffd\\\n.pcap'))

    def test_text(self):
        one = self.file("one.pcap", pcap(RAW, [GOOD4, BAD4]))
        out, _ = self.run_replay("--rules", self.rules, one)
        lines = out.splitlines()
        self.assertEqual(lines[:3], ["1 forward NO_ENTRY", "2 drop ENTRY_DENY 203.0.113.7", ""])
        self.assertEqual(lines[3], "2 packets, 56 octets: 1 forward, 1 drop, 0 monitor")
        self.assertEqual([line.split()[:3] for line in lines[4:]],
                         [["1", "forward", "NO_ENTRY"], ["1", "drop", "ENTRY_DENY"]])
        two = self.file("two.pcap", pcap(RAW, [BAD6]))
        out, _ = self.run_replay("--rules", self.rules, one, two)
        self.assertIn(f"{os.fsdecode(two)}:1 drop ENTRY_DENY 2001:db8::7\n", out)

    def test_directions(self):
        path = self.file("d.pcap", pcap(RAW, [BAD4, BACK4, GOOD4]))
        both = udp("203.0.113.7", "198.51.100.1")
        other = self.file("o.pcap", pcap(RAW, [both]))
        self.assertEqual(self.judge(path), [DENY4, PASS, PASS])
        self.assertEqual(self.judge("--both", path), [DENY4, DENY4, PASS])
        self.assertEqual(self.judge("--inside", "10.0.0.0/8", path), [DENY4, DENY4, PASS])
        # From inside only the destination counts, from outside only the source.
        self.assertEqual(self.judge("--inside", "203.0.113.7", "--inside", "fd00::/8", path),
                         [PASS, PASS, PASS])
        self.assertEqual(self.judge("--inside", "10.0.0.0/8", other), [DENY4])
        self.assertEqual(self.judge(other), [PASS])

    def test_exceptions_and_ends(self):
        self.rules = self.file("deny.rules", b"203.0.113.7 until=2026-06-01T00:00:00Z\n"
                               b"2001:db8::/32 monitor\nexcept protect 203.0.113.8\n"
                               b"203.0.113.0/24\n127.0.0.1\n203.0.113.9 monitor\n203.0.113.9\n")
        path = self.file("e.pcap", pcap(RAW, [BAD4, GOOD4, BAD6, udp("10.0.0.1", "127.0.0.1"),
                                              udp("10.0.0.1", "203.0.113.9")]))
        rest = [("forward", "PROTECTED", "203.0.113.0/24"),
                ("monitor", "ENTRY_MONITOR", "2001:db8::/32"),
                # No exceptions but the file's: not even for loopback.
                ("drop", "ENTRY_DENY", "127.0.0.1"),
                # Twice in the file: the enforcing line is not shadowed.
                ("drop", "ENTRY_DENY", "203.0.113.9")]
        self.assertEqual(self.judge("--at", "2026-05-31T23:59:59Z", path),
                         [("drop", "ENTRY_DENY", "203.0.113.7")] + rest)
        self.assertEqual(self.judge("--at", "2026-06-01T00:00:00Z", path),
                         [("drop", "ENTRY_DENY", "203.0.113.0/24")] + rest)

    def test_names_are_told(self):
        self.rules = self.file("deny.rules", b"evil.example\n*.evil.example\n203.0.113.7\n")
        path = self.file("n.pcap", pcap(RAW, [BAD4]))
        self.assertEqual(self.judge(path), [DENY4])
        self.assertIn("2 lines", self.err)

    def test_no_rules_at_all(self):
        self.rules = self.file("deny.rules", b"# nothing\n")
        self.assertEqual(self.judge(self.file("n.pcap", pcap(RAW, [BAD4]))), [PASS])
        self.assertEqual(self.judge(self.file("n.pcap", pcap(RAW, []))), [])

    def test_truncated(self):
        whole = pcap(RAW, [BAD4, GOOD4, BAD4])
        good = self.file("good.pcap", pcap(RAW, [GOOD4]))
        cut = self.file("cut.pcap", whole[:-5])
        self.assertEqual(self.judge(cut, good, status=65), [DENY4, PASS, PASS])
        self.assertIn("after 2 packets", self.err)
        for length in (0, 3, 23):
            path = self.file("cut.pcap", whole[:length])
            self.assertEqual(self.judge(path, good, status=65), [PASS])
            self.assertIn("cut.pcap: ", self.err)
        # Fewer octets were captured than there were.
        record = struct.pack("<IIII", 1, 2, 28, 1000) + BAD4
        head = pcap(RAW, [])
        self.assertEqual(self.judge(self.file("snap.pcap", head + record)), [DENY4])

    def test_bad_captures(self):
        good = self.file("good.pcap", pcap(RAW, [GOOD4]))
        self.assertEqual(self.judge(self.file("x.pcap", b"<html>" * 20), good, status=65), [PASS])
        self.assertEqual(self.judge(self.file("y.pcap", pcap(105, [GOOD4])), good, status=65),
                         [PASS])
        self.assertIn("link type 105 is not supported", self.err)
        self.assertEqual(self.judge("/nowhere/x.pcap", good, status=66), [PASS])
        self.assertIn("/nowhere/x.pcap: No such file", self.err)

    def test_bad_rules(self):
        path = self.file("good.pcap", pcap(RAW, [GOOD4]))
        self.rules = self.file("deny.rules", b"203.0.113.7\n203.0.113.300\n")
        self.judge(path, status=65)
        self.assertRegex(self.err, r"deny\.rules:2:\d+: ")
        self.rules = self.file("deny.rules", b"203.0.113.7/24\n")
        self.judge(path, status=65)
        self.assertRegex(self.err, r"deny\.rules:1:\d+: ")
        self.rules = b"/nowhere/deny.rules"
        self.judge(path, status=66)
        self.assertIn("/nowhere/deny.rules", self.err)

    def test_usage(self):
        path = self.file("good.pcap", pcap(RAW, [GOOD4]))
        for args in ([], [path], ["--rules", self.rules], ["--rules", self.rules, "--no", path],
                     ["--rules", self.rules, "--both", "--inside", "10.0.0.0/8", path],
                     ["--rules", self.rules, "--inside", "10.0.0.1/8", path],
                     ["--rules", self.rules, "--inside", "tcp/10.0.0.1:1", path],
                     ["--rules", self.rules, "--at", "today", path],
                     ["--rules", self.rules, "--at", "never", path]):
            _, err = self.run_replay(*args, status=64)
            self.assertTrue(err)
        out, err = self.run_replay("--help")
        self.assertIn("Exit status", out)
        self.assertEqual(err, "")
        out, _ = self.run_replay("--version")
        self.assertTrue(out.startswith("stanch-replay "))

    def test_full_disk(self):
        path = self.file("good.pcap", pcap(RAW, [GOOD4]))
        with open("/dev/full", "wb") as full:
            done = subprocess.run([REPLAY, "--rules", self.rules, path], stdout=full,
                                  stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 74)


if __name__ == "__main__":
    REPLAY = os.path.abspath(sys.argv.pop(1))
    unittest.main()
