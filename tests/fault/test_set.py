# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The live set when much happens at once: thousands of ends in one second, a synchronisation broken off,
and what two sources say of one destination."""

import os
import socket
import struct
import time
import unittest

import lab
import link_client as link
from lab import WORLD
from thehive_client import TheHive

DENIED, FREE, ENDING = WORLD
STORM = 54000


@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")
class Set(unittest.TestCase):
    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)
        self.lab.__enter__()

    def start(self, rules):
        self.lab.configure()
        lab.write_rules(self.lab.path("list"), rules)
        self.lab.start_dataplane()
        lab.wait_for(lambda: self.lab.arrives(FREE), "a packet crosses the wire", 15)

    def client(self, *known):
        client = link.Client(self.lab, *known)
        self.addCleanup(client.close)
        return client

    def pings(self, address):
        """Yields for each datagram that has crossed the wire; fails with one that does not."""
        sniffer = lab.Sniffer(self.lab)
        sender = self.lab.socket("inside", socket.AF_INET, socket.SOCK_DGRAM)
        try:
            while True:
                mark = os.urandom(12)
                sender.sendto(mark, (address, 9000))
                self.assertTrue(any(mark in frame for _, frame in sniffer.frames(5)), "a packet was lost")
                yield
        finally:
            sender.close()
            sniffer.close()

    def test_expiry_storm(self):
        """All of them end at one instant: other packets cross and the link answers all the while."""
        end = time.time() + 10
        until = time.strftime("until=%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
        storm = [f"10.{9 + (i >> 16)}.{i >> 8 & 255}.{i & 255}" for i in range(STORM)]
        rules = [DENIED, f"{ENDING} {until}", *(f"{address} {until}" for address in storm)]
        self.start(rules)
        client = self.client()
        self.assertEqual(client.live, link.state(1, rules))
        probes = [ENDING, *storm[::STORM // 16], storm[-1]]
        actions = [client.action(probe) for probe in probes]
        self.assertLess(time.time(), int(end), "this machine is too slow for the test")
        self.assertEqual(set(actions), {link.ENFORCE})
        deadline, crossed, longest = time.monotonic() + 60, 0, 0.0
        for _ in self.pings(FREE):
            crossed += time.time() >= int(end)
            asked = time.monotonic()
            actions = [client.action(probe) for probe in probes]
            longest = max(longest, (time.monotonic() - asked) / len(probes))
            self.assertTrue(set(actions) <= {link.ENFORCE, link.INERT})
            if set(actions) == {link.INERT}:
                break
            self.assertLess(time.monotonic(), deadline, actions)
        print(f"{crossed} packets crossed meanwhile; the link's answers took {longest * 1e3:.1f} ms at most")
        self.assertTrue(self.lab.arrives(ENDING))
        self.assertFalse(self.lab.arrives(DENIED))
        # Inert entries stay in the list until control takes them out.
        self.assertEqual(self.client().live, link.state(1, rules))
        since = time.monotonic()
        age = lambda: self.lab.ctl_status()["list"]["scrub_age_ms"]
        lab.wait_for(lambda: (age() or 1e9) < (time.monotonic() - since) * 1e3, "a walk of the scrub", 60)
        after = self.lab.ctl_status()["list"]
        self.assertEqual((after["entries"], after["scrub_errors"]), (len(rules), 0))

    def test_a_synchronisation_broken_off(self):
        """Begun, half of it sent, and no end: a newcomer finds the list that was there before, in force."""
        rules = [DENIED, ENDING, "10.9.0.0/16"]
        self.start(rules)
        first = self.client()
        self.assertEqual(first.live, link.state(1, rules))
        target = ["192.0.2.1", "192.0.2.2"]
        generation = struct.pack("<Q", 7)
        begin = generation + link.state(2, target)
        half = generation + struct.pack("<II", 1, 0) + link.entry(target[0])
        end = generation + link.state(2, target) + struct.pack("<II", 1, 0)
        self.assertEqual(first.code(link.SYNC_BEGIN, begin)[0], link.OK)
        self.assertEqual(first.code(link.SYNC_ENTRIES, half)[0], link.OK)
        for address in (DENIED, ENDING):
            self.assertFalse(self.lab.arrives(address))
        second = self.client()
        # What it is, is known to nobody: the revision says so, and a synchronisation has to follow.
        self.assertNotEqual(second.live[:40], link.state(1, rules)[:40])
        for address in (DENIED, ENDING, "10.9.0.0/16"):
            self.assertEqual(second.action(address), link.ENFORCE)
        for address in (DENIED, ENDING):
            self.assertFalse(self.lab.arrives(address))
        self.assertTrue(self.lab.arrives(FREE))
        # Its end, sent by the newcomer, ends nothing.
        self.assertEqual(second.code(link.SYNC_END, end)[0], link.NEED_SYNC)
        self.assertFalse(self.lab.arrives(DENIED))
        # The next one, whole, does.
        rest = generation + struct.pack("<II", 2, 0) + b"".join(link.entry(t) for t in target)
        self.assertEqual(second.code(link.SYNC_BEGIN, begin)[0], link.OK)
        self.assertEqual(second.code(link.SYNC_ENTRIES, rest)[0], link.OK)
        self.assertEqual(second.code(link.SYNC_END, end), (link.OK, link.state(2, target)))
        self.assertTrue(self.lab.arrives(DENIED))
        self.assertIsNone(second.action(DENIED))


@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")
class Overlap(unittest.TestCase):
    """Two sources, an operator and a case, through the ledger to the wire: one ends, the other's stays."""

    def setUp(self):
        self.lab = lab.Lab()
        self.addCleanup(self.lab.close)
        self.lab.__enter__()
        port = lab.free_port()
        self.hive = TheHive(version=5, webhook_url=f"http://127.0.0.1:{port}/v1/hooks/thehive",
                            custom_field="stanch-action:string", webhook_auth="bearer:word")
        self.hive.__enter__()
        self.addCleanup(self.hive.__exit__, None, None, None)
        hive = {"url": self.hive.url, "key": self.hive.key, "hook": "word"}
        self.lab.configure(self.lab.control_section(hive=hive, listen=f"127.0.0.1:{port}"))
        self.lab.start_dataplane()
        self.lab.start_control()
        self.equal()
        lab.wait_for(lambda: self.lab.arrives(FREE), "a packet crosses the wire", 15)

    def equal(self):
        lab.wait_for(lambda: (self.lab.stanch_json("status") or {}).get("dataplane", {}).get("equal"),
                     "the data plane has the list", 30)

    def case(self, address):
        """A closed case that denies it."""
        case = self.hive.case_create(f"Sends to {address}", field="enforce")
        self.hive.observable_create(case, address)
        self.hive.close(case)
        lab.wait_for(lambda: self.of_case(address), "the case's claim", 20)
        self.equal()
        return case

    def of_case(self, address):
        """Live claims of cases on just this address."""
        claims = (self.lab.stanch_json("why", address) or {}).get("claims", [])
        return [c for c in claims if c["indicator"] == address and c["source"] == "thehive:soc"]

    def reopen(self, case, address):
        self.hive.reopen(case)
        lab.wait_for(lambda: not self.of_case(address), "the case's claim ends", 20)
        self.equal()

    def operator(self, verb, what, code=0):
        words = ["--reason", "a test"] if verb == "block" else []
        done = self.lab.stanch(verb, what, *words)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.equal()
        return done.stdout + done.stderr

    def test_the_same_address(self):
        self.operator("block", DENIED)
        case = self.case(DENIED)
        self.assertFalse(self.lab.arrives(DENIED))
        self.reopen(case, DENIED)
        self.assertFalse(self.lab.arrives(DENIED))
        self.operator("unblock", DENIED)
        self.assertTrue(self.lab.arrives(DENIED))
        # The other way round: the operator's ends first, and the answer names who holds it.
        case = self.case(DENIED)
        self.operator("block", DENIED)
        self.assertIn("soc", self.operator("unblock", DENIED, 1))
        self.assertFalse(self.lab.arrives(DENIED))
        self.reopen(case, DENIED)
        self.assertTrue(self.lab.arrives(DENIED))

    def test_a_network_and_an_address_in_it(self):
        network = "203.0.113.0/28"
        case = self.case(DENIED)
        self.operator("block", network)
        for address in (DENIED, FREE):
            self.assertFalse(self.lab.arrives(address))
        self.operator("unblock", network)
        self.assertTrue(self.lab.arrives(FREE))
        self.assertFalse(self.lab.arrives(DENIED))
        # The address goes, the network stays.
        self.operator("block", network)
        self.reopen(case, DENIED)
        for address in (DENIED, FREE):
            self.assertFalse(self.lab.arrives(address))
        self.assertTrue(self.lab.arrives(ENDING))
        self.operator("unblock", network)
        for address in (DENIED, FREE):
            self.assertTrue(self.lab.arrives(address))


if __name__ == "__main__":
    unittest.main()
