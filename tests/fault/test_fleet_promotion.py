# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A replica that lacks the last records, the last epoch and the lock becomes the Redis of the fleet: what it lacks is
published again, withdrawals included, and no gateway denies less meanwhile."""

import signal
import unittest

import lab
from fleet_case import Fleet
from redis_peer import AVAILABLE, Redis


def host(n):
    return f"198.51.100.{n}"


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Promotion(unittest.TestCase):
    def setUp(self):
        home = lab.Lab.bare()
        self.addCleanup(home.close)
        port = lab.free_port()
        self.master = Redis(home.path("master"), port=port)
        self.addCleanup(lambda: self.master.end(signal.SIGKILL))
        self.replica = Redis(home.path("replica"), replicaof=f"127.0.0.1 {port}", masteruser="replica",
                             masterauth="change-me-replica", **{"repl-diskless-sync-delay": 0})
        self.addCleanup(lambda: self.replica.end(signal.SIGKILL))
        lab.wait_for(lambda: "master_link_status:up" in self.replica.cli("INFO", "replication", user="admin"),
                     "it replicates", 20)
        self.fleet = Fleet(redis=self.master)
        self.addCleanup(self.fleet.close)

    def has_replicated(self):
        """Everything that the fleet knows at this moment."""
        top = "return redis.call('XREVRANGE', 'stanch:lab:log', '+', '-', 'COUNT', 1)[1][1]"
        newest = self.master.cli("EVAL", top, "0", user="admin")
        lab.wait_for(lambda: self.replica.cli("EVAL", top, "0", user="admin") == newest, "the replica has the log", 10)

    def promote(self):
        self.replica.cli("DEL", "stanch:lab:leader", user="admin")
        self.master.end(signal.SIGKILL)
        for gateway in self.fleet.gateways:
            gateway.proxy.cut()
            gateway.proxy.target = self.replica.socket
            gateway.proxy.mend()

    def test_lacks_the_last_records(self):
        fleet = self.fleet
        first = fleet.leader()
        first.block(host(1), host(9))
        fleet.enforce([host(1), host(9)])
        fleet.equal()
        self.has_replicated()
        self.replica.cli("REPLICAOF", "NO", "ONE", user="admin")

        # An epoch, records and a withdrawal that the replica never sees.
        first.kill()
        others = [g for g in fleet.gateways if g is not first]
        second = lab.wait_for(lambda: next((g for g in others if g.leads()), None), "another leads", 20)
        epoch = second.status()["epoch"]
        third = next(g for g in others if g is not second)
        second.block(host(2))
        third.block(host(3))
        second.stanch("unblock", host(9), "--reason", "a test")
        wanted = {host(1), host(2), host(3)}
        fleet.enforce(wanted, others)

        self.promote()
        first.start()  # it has the older list, as the replica does
        lost = []

        def settled():
            for gateway in others:
                missing = wanted - gateway.plane.enforced()
                if missing:
                    lost.append((gateway.name, missing))
            states = [g.status() for g in fleet.gateways]
            return (all(s.get("equal") and not s.get("asks") and not s.get("local") for s in states)
                    and len({(s.get("number"), s.get("digest")) for s in states}) == 1
                    and all(g.plane.enforced() == wanted for g in fleet.gateways))
        fleet.reaches(settled, f"all enforce {sorted(wanted)}", 60)
        self.assertEqual(lost, [])
        self.assertGreaterEqual(fleet.leader().status()["epoch"], epoch)
        fleet.equal()


if __name__ == "__main__":
    unittest.main()
