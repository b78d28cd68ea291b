# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A fleet whose Redis is a master and a replica behind Sentinels, everything by TLS and with the recommended users:
the master is killed, and the fleet goes on at the other."""

import signal
import unittest

import lab
from certificates import Authority
from redis_peer import AVAILABLE, Redis, Sentinel
from test_fleet_protocol import Gateway, host

FILES = """port 0
tls-port {port}
tls-replication yes
tls-cert-file {cert}
tls-key-file {key}
tls-ca-cert-file {ca}
tls-auth-clients no
"""


class Member(Gateway):
    def redis(self):
        tls = f"{{ca_file: {self.test.ca.ca}}}"
        addresses = ", ".join(f"'127.0.0.1:{one.port}'" for one in self.test.sentinels)
        return (f"{{sentinel: {{master: blocklists, addresses: [{addresses}], user: stanch, tls: {tls}, "
                f"password_file: {self.lab.secret('sentinel.password', 'change-me-stanch')}}}, tls: {tls}, "
                f"user: stanch-fleet, password_file: {self.lab.secret('redis.password', 'change-me-stanch-fleet')}}}")

    def configure(self):
        section = f"  fleet:\n    id: lab\n    gateway: {self.name}\n    lease_ms: 2000\n    redis: {self.redis()}\n"
        section += f"    key_file: {self.lab.secret('key', self.keys[0])}\n"
        self.lab.configure(self.lab.control_section(extra=section))


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Reach(unittest.TestCase):
    def setUp(self):
        home = lab.Lab.bare()
        self.addCleanup(home.close)
        self.ca = Authority(home.path("ca"))
        cert, key = self.ca.issue("machine", "IP:127.0.0.1")
        ports = [lab.free_port() for _ in range(5)]

        def settings(port):
            return FILES.format(port=port, cert=cert, key=key, ca=self.ca.ca)

        def redis(name, port, **more):
            words = dict(line.split(" ", 1) for line in settings(port).splitlines())
            one = Redis(home.path(name), masteruser="replica", masterauth="change-me-replica",
                        **{"repl-diskless-sync-delay": 0}, **words, **more)
            self.addCleanup(lambda: one.end(signal.SIGKILL))
            return one

        self.first = redis("first", ports[0])
        self.second = redis("second", ports[1], replicaof=f"127.0.0.1 {ports[0]}")
        lab.wait_for(lambda: "master_link_status:up" in self.second.cli("INFO", "replication", user="admin"), "it replicates", 20)
        self.sentinels = [Sentinel(home.path(f"sentinel{port}"), port, ports[0], 2, settings(port), self.ca.ca) for port in ports[2:]]
        for one in self.sentinels:
            self.addCleanup(one.end)
        for one in self.sentinels:
            lab.wait_for(lambda one=one: one.cli("SENTINEL", "CKQUORUM", "blocklists").startswith("OK 3"), "they know each other", 30)
        lab.wait_for(lambda: "slaves=1" in self.sentinels[0].cli("INFO", "sentinel"), "they know the replica", 30)
        self.gateways = [Member(self, name) for name in ("gw-a", "gw-b")]

    def all_deny(self, *wanted):
        try:
            lab.wait_for(lambda: all(g.denied() == set(wanted) and g.status().get("equal") for g in self.gateways)
                         and len({g.status().get("digest") for g in self.gateways}) == 1, f"all deny {wanted}", 60)
        except TimeoutError as error:
            text = "\n".join(f"--- {g.name}: {g.status()}\n" + g.lab.log("control")[-2000:] for g in self.gateways)
            raise AssertionError(f"{error}\n{text}") from error

    def test_master_killed(self):
        for one in self.gateways:
            one.start()
        self.gateways[0].block(host(1))
        self.all_deny(host(1))
        self.first.end(signal.SIGKILL)
        lab.wait_for(lambda: "role:master" in self.second.cli("INFO", "replication", user="admin", check=False), "it was promoted", 40)
        self.gateways[0].block(host(2))
        self.gateways[1].block(host(3))
        self.all_deny(host(1), host(2), host(3))
        self.first.start()  # as a replica, which nobody takes for the master
        lab.wait_for(lambda: "role:slave" in self.first.cli("INFO", "replication", user="admin", check=False), "it follows", 60)
        self.gateways[1].block(host(4))
        self.all_deny(host(1), host(2), host(3), host(4))
        for one in (self.first, self.second):
            self.assertEqual(one.cli("ACL", "LOG", user="admin").strip(), "", "the recommended ACL refused something")


if __name__ == "__main__":
    unittest.main()
