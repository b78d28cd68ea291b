# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""How control reaches a Redis: TLS, Sentinel, names, a prefix before every key, the recommended ACL."""

import os
import re
import signal
import socket
import struct
import subprocess
import threading
import unittest

import lab
from certificates import Authority
from lab import WORLD
from redis_peer import AVAILABLE, DEPLOY, Redis, Sentinel
from test_redis import Listed

FIRST, SECOND, THIRD = WORLD


class Reached(Listed):
    """One list of one Redis, reached as `server` (lines of YAML by key) says."""

    def server(self):
        return {"address": self.redis.socket, "user": "stanch",
                "password_file": self.lab.secret("redis.password", "change-me-stanch")}

    def lists_section(self, lists):
        text = "  redis:\n    - name: feeds\n"
        text += "".join(f"      {name}: {value}\n" for name, value in self.server().items()) + "      lists:\n"
        return text + "".join(f"        - {{name: {name}, {more}}}\n" for name, more in lists.items())


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Prefix(Reached, unittest.TestCase):
    def server(self):
        return super().server() | {"key_prefix": "'blocklist:'"}

    def test_before_keys_metadata_and_channels(self):
        # The ACL opens blocklist:* only: what lacks the prefix is refused.
        self.begin({"bad": "key: bad, refresh_s: 3600", "log": "key: log, refresh_s: 1",
                    "said": "key: said, channel: told, refresh_s: 3600, keyspace: true"}, lab.Lab.bare(),
                   **{"notify-keyspace-events": "Ks"})
        self.control = self.lab.start_control()
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.meta(2)
        self.read()
        self.says(lambda s: s.get("disagreed"), "metadata are found beside it")
        self.meta(1)
        self.reaches(1)
        self.redis.cli("SADD", "blocklist:bad", SECOND)
        self.redis.cli("PUBLISH", "blocklist:bad:changes", "+" + SECOND)
        self.reaches(2)
        self.redis.cli("XADD", "blocklist:log", "*", "op", "add", "indicator", THIRD)
        self.reaches(1, "log")
        self.redis.cli("SADD", "blocklist:said", FIRST)  # a keyspace notification
        self.reaches(1, "said")
        self.redis.cli("SADD", "blocklist:said", SECOND)
        self.redis.cli("PUBLISH", "blocklist:told", "+" + SECOND)
        self.says(lambda s: s.get("points") == 1 and s.get("members") == 2, "the channel has the prefix", "said")
        self.assertEqual(self.state()["key"], "blocklist:bad")


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Database(Reached, unittest.TestCase):
    def server(self):
        return super().server() | {"database": 3}

    def test_another_than_the_first(self):
        self.begin({"bad": "key: 'blocklist:bad', refresh_s: 3600, keyspace: true"}, lab.Lab.bare(),
                   **{"notify-keyspace-events": "Ks"})
        self.control = self.lab.start_control()
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.redis.cli("-n", 3, "SADD", "blocklist:bad", SECOND)
        self.read()
        self.reaches(1)
        self.redis.cli("-n", 3, "SADD", "blocklist:bad", THIRD)  # that database's notification
        self.reaches(2)
        self.assertFalse(self.denied(FIRST))


class OverTls(Reached):
    """A Redis that speaks TLS on a port, and asks for a certificate."""

    def server(self):
        values = {"ca_file": self.ca.ca, "cert_file": self.client[0], "key_file": self.client[1]} | self.files
        text = ", ".join(f"{name}: {value}" for name, value in values.items() if value)
        return super().server() | {"address": f"{self.host}:{self.port}", "connect_timeout_ms": 2000,
                                   "tls": "{" + text + "}"}

    def start(self, san="IP:127.0.0.1", host="127.0.0.1", files=None, expired=False, clients="yes",
              lists="key: 'blocklist:bad', refresh_s: 1"):
        home = lab.Lab.bare()
        self.ca = Authority(home.path("ca"))
        self.client = self.ca.issue("client", "DNS:gateway")
        self.host, self.port, self.files = host, lab.free_port(), files or {}
        redis = self.ca.issue("redis", san, expired=expired)
        self.begin({"bad": lists}, home, **Redis.tls(self.port, self.ca, *redis, clients=clients))
        self.control = home.start_control()

    def again(self, **files):
        self.files = files
        self.lab.configure(self.lab.control_section(extra=self.lists_section({"bad": "key: 'blocklist:bad', refresh_s: 1"})))
        self.control.send_signal(signal.SIGHUP)

    def refused(self, words):
        self.says(lambda s: s.get("state") == "not connected" and words in s.get("why", ""), words)


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Tls(OverTls, unittest.TestCase):
    def test_members_and_hints(self):
        self.start(lists="key: 'blocklist:bad', refresh_s: 3600")
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.read()
        self.reaches(1)
        self.redis.cli("SADD", "blocklist:bad", SECOND)
        self.redis.cli("PUBLISH", "blocklist:bad:changes", "+" + SECOND)
        self.reaches(2)
        self.assertEqual(self.state()["points"], 1)
        clients = self.redis.cli("CLIENT", "LIST", user="admin").splitlines()
        self.assertEqual(sum(f"laddr=127.0.0.1:{self.port}" in one for one in clients), 3)

    def test_many_members(self):
        # Some megabytes through the relay, which holds 256 KiB.
        self.start(lists="key: 'blocklist:bad', refresh_s: 3600")
        self.redis.many("SADD", "blocklist:bad", (f"198.{18 + (i >> 16)}.{i >> 8 & 255}.{i & 255}" for i in range(120000)))
        self.meta(120000)
        self.read()
        self.reaches(120000, seconds=60)

    def test_whom_it_trusts(self):
        self.start()
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.reaches(1)
        other = Authority(self.lab.path("other"))
        self.again(ca_file=other.ca)
        self.refused("certificate verify failed: self-signed certificate in certificate chain")
        self.again(ca_file=None)  # the system's
        self.refused("certificate verify failed")
        self.again(server_name="redis.example")
        self.refused("certificate verify failed: hostname mismatch, not redis.example")
        self.again(server_name="127.0.0.2")
        self.refused("certificate verify failed: IP address mismatch, not 127.0.0.2")
        self.again(cert_file=None, key_file=None)
        self.refused("certificate required")
        cert, key = other.issue("stranger", "DNS:gateway")
        self.again(cert_file=cert, key_file=key)
        self.refused("TLS: ")
        self.assertTrue(self.denied(FIRST))
        self.again()
        self.redis.cli("SADD", "blocklist:bad", SECOND)
        self.reaches(2)

    def test_expired(self):
        self.start(expired=True)
        self.refused("certificate verify failed: certificate has expired")

    def test_name_that_is_not_the_address(self):
        self.start(san="DNS:redis.example", clients="no", files={"server_name": "redis.example", "cert_file": None, "key_file": None})
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.reaches(1)

    def test_localhost_by_name(self):
        # ::1 comes first in many places, where nobody listens: the next try takes the other.
        self.start(san="DNS:localhost", host="localhost")
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.reaches(1)

    def test_other_ends(self):
        self.start()
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.reaches(1)
        # No TLS there.
        plain = Redis(self.lab.path("plain"), port=(port := lab.free_port()))
        self.addCleanup(plain.end)
        real, self.port = self.port, port
        self.again()
        self.refused("TLS did not stand in time")  # Redis waits for the end of a line
        self.port = lab.free_port()
        self.again()
        self.refused("not connected: Connection refused")
        self.port = real
        self.again()
        self.redis.cli("SADD", "blocklist:bad", SECOND)
        self.reaches(2)

    def test_restarts_leave_nothing_open(self):
        self.start()
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.reaches(1)

        def sockets():
            return len(os.listdir(f"/proc/{self.control.pid}/fd"))

        before = sockets()
        for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            self.redis.end(how)
            self.refused("not connected: Connection refused")
            self.redis.start()
            self.redis.cli("SADD", "blocklist:bad", FIRST)
            self.says(lambda s: s.get("state") == "good", "it is connected again")
        for _ in range(20):
            self.redis.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", user="admin")
        self.says(lambda s: s.get("state") == "good", "it is connected again")
        lab.wait_for(lambda: sockets() <= before, "as many descriptors as before", 20)

    def test_a_redis_that_hangs_in_the_handshake(self):
        self.start()
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.reaches(1)
        self.redis.process.send_signal(signal.SIGSTOP)
        try:
            self.control.send_signal(signal.SIGHUP)
            self.refused("TLS did not stand in time")
        finally:
            self.redis.process.send_signal(signal.SIGCONT)
        self.says(lambda s: s.get("state") == "good", "it is connected again")

    def test_files_are_read_by_check(self):
        self.start()
        for files, words in (({"ca_file": self.client[1]}, "control.redis[0].tls: " + self.client[1] + ": holds no PEM cert"),
                             ({"key_file": self.ca.path("ca.key")}, "is not the certificate's key"),
                             ({"cert_file": "/nowhere"}, "control.redis[0].tls.cert_file: /nowhere: No such file"),
                             ({"cert_file": None}, "control.redis[0].tls: cert_file is missing")):
            self.files = files
            path = self.lab.configure(self.lab.control_section(extra=self.lists_section({"bad": "key: x"})))
            done = subprocess.run([lab.binary("stanch-control"), "--check", path], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1, (files, done))
            self.assertIn(words, done.stdout + done.stderr)


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Sentinels(Reached, unittest.TestCase):
    """A master, a replica, three Sentinels, and whom control asks."""

    password = "change-me-stanch"
    master = "blocklists"

    def server(self):
        addresses = ", ".join(f"'127.0.0.1:{port}'" for port in self.asked)
        values = super().server()
        del values["address"]
        return values | {"connect_timeout_ms": 2000, "sentinel": f"{{master: {self.master}, addresses: [{addresses}], "
                         f"user: stanch, password_file: {self.lab.secret('sentinel.password', self.password)}}}"}

    def start(self, asked=None):
        """asked: ports in place of the three Sentinels'."""
        home = lab.Lab.bare()
        ports = [lab.free_port() for _ in range(5)]
        self.first, self.second = ports[:2]
        self.asked = asked or ports[2:]
        self.begin({"bad": "key: 'blocklist:bad', refresh_s: 3600"}, home, port=self.first, **self.replication())
        self.replica = Redis(home.path("replica"), port=self.second, replicaof=f"127.0.0.1 {self.first}", **self.replication())
        self.addCleanup(self.replica.end)
        lab.wait_for(lambda: "master_link_status:up" in self.replica.cli("INFO", "replication", user="admin"), "it replicates")
        self.sentinels = [Sentinel(home.path(f"sentinel{port}"), port, self.first, 2) for port in ports[2:]]
        for one in self.sentinels:
            self.addCleanup(one.end)
        for one in self.sentinels:
            lab.wait_for(lambda one=one: one.cli("SENTINEL", "CKQUORUM", "blocklists").startswith("OK 3"), "they know each other", 30)
        lab.wait_for(lambda: "slave0" in self.sentinels[0].cli("INFO", "sentinel") or "slaves=1" in self.sentinels[0].cli("INFO", "sentinel"),
                     "they know the replica", 30)

    @staticmethod
    def replication():
        return {"masteruser": "replica", "masterauth": "change-me-replica", "repl-diskless-sync-delay": 0}

    def add(self, redis, member):
        """Published with a hint: only who listens hears it, for full readings are an hour apart."""
        redis.cli("SADD", "blocklist:bad", member)
        redis.cli("PUBLISH", "blocklist:bad:changes", "+" + member)

    def connected(self):
        self.says(lambda s: s.get("state") not in ("not connected", None), "it is connected", seconds=30)

    def here(self, redis):
        """Are all three connections at this Redis? (Sentinel cuts clients off, redis-cli among them.)"""
        lines = [one for one in redis.cli("CLIENT", "LIST", user="admin", check=False).splitlines() if " user=stanch " in one]
        return len(lines) == 3

    def reload(self):
        self.lab.configure(self.lab.control_section(extra=self.lists_section({"bad": "key: 'blocklist:bad', refresh_s: 3600"})))
        self.control.send_signal(signal.SIGHUP)

    def test_failover(self):
        self.start()
        self.control = self.lab.start_control()
        lab.wait_for(lambda: self.here(self.redis), "it is at the master", 20)
        self.add(self.redis, FIRST)
        self.reaches(1)
        self.redis.end(signal.SIGKILL)
        lab.wait_for(lambda: self.here(self.replica), "it is at the new master", 40)
        self.add(self.replica, SECOND)
        self.reaches(2)
        self.assertEqual(self.part()["address"], f"127.0.0.1:{self.second}")
        # The old one comes back, as a replica.
        self.redis.start()
        lab.wait_for(lambda: "role:slave" in self.redis.cli("INFO", "replication", user="admin", check=False), "it was made a replica", 60)
        self.add(self.replica, THIRD)
        self.reaches(3)
        self.assertTrue(self.here(self.replica))

    def test_told_that_it_moved(self):
        # A master that hangs: whose connections only listen hears of it from Sentinel alone.
        self.start()
        self.control = self.lab.start_control()
        lab.wait_for(lambda: self.here(self.redis), "it is at the master", 20)
        self.redis.process.send_signal(signal.SIGSTOP)
        try:
            lab.wait_for(lambda: self.here(self.replica), "it is at the new master", 40)
            self.add(self.replica, FIRST)
            self.reaches(1)
        finally:
            self.redis.process.send_signal(signal.SIGCONT)

    def test_a_sentinel_that_lies(self):
        self.start()
        # Watches the replica as if it were the master, as after a partition.
        liar = Sentinel(self.lab.path("liar"), lab.free_port(), self.second, 1)
        self.addCleanup(liar.end)
        lab.wait_for(lambda: liar.master() == self.second, "it names the replica")
        self.asked = [liar.port]
        self.lab.configure(self.lab.control_section(extra=self.lists_section({"bad": "key: 'blocklist:bad', refresh_s: 3600"})))
        self.control = self.lab.start_control()
        self.says(lambda s: f"Sentinel named 127.0.0.1:{self.second}, which is no master: slave" in s.get("why", ""), "it sees through it")
        self.assertFalse(self.here(self.replica))
        self.asked = [liar.port, *(one.port for one in self.sentinels)]
        self.reload()
        lab.wait_for(lambda: self.here(self.redis), "the next one is asked", 20)

    def test_all_dead_and_back(self):
        self.start()
        self.control = self.lab.start_control()
        lab.wait_for(lambda: self.here(self.redis), "it is at the master", 20)
        for one in self.sentinels:
            one.end(signal.SIGKILL)
        self.add(self.redis, FIRST)  # who is connected stays so
        self.reaches(1)
        self.redis.end()
        self.redis.start()
        self.says(lambda s: "no Sentinel names the master: Sentinel 127.0.0.1:" in s.get("why", ""), "nobody tells")
        self.assertTrue(self.denied(FIRST))
        for one in self.sentinels:
            one.start()
        lab.wait_for(lambda: self.here(self.redis), "it is at the master again", 40)
        self.add(self.redis, SECOND)
        self.reaches(2)

    def test_the_next_where_one_is_dead_or_hangs(self):
        self.start()
        good = self.asked[-1]
        self.asked = [lab.free_port(), self.sentinels[0].port, good]
        self.sentinels[0].process.send_signal(signal.SIGSTOP)
        try:
            self.lab.configure(self.lab.control_section(extra=self.lists_section({"bad": "key: 'blocklist:bad', refresh_s: 3600"})))
            self.control = self.lab.start_control()
            lab.wait_for(lambda: self.here(self.redis), "the third was asked", 30)
        finally:
            self.sentinels[0].process.send_signal(signal.SIGCONT)

    def test_what_it_refuses(self):
        self.password = "nonsense"
        self.start()
        self.control = self.lab.start_control()
        self.says(lambda s: "WRONGPASS" in s.get("why", ""), "the password of the Sentinels is wrong")
        self.password, self.master = "change-me-stanch", "others"
        self.reload()
        self.says(lambda s: "it knows no master others" in s.get("why", ""), "the name is wrong")
        self.master = "blocklists"
        self.reload()
        lab.wait_for(lambda: self.here(self.redis), "it is at the master", 20)


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class SentinelTls(OverTls, unittest.TestCase):
    """A Redis of TLS that a Sentinel of TLS names."""

    def server(self):
        if not hasattr(self, "sentinel"):
            return super().server()
        values = super().server()
        del values["address"]
        return values | {"sentinel": f"{{master: blocklists, addresses: ['127.0.0.1:{self.sentinel.port}'], user: stanch, "
                         f"password_file: {self.lab.secret('sentinel.password', 'change-me-stanch')}, "
                         f"tls: {{ca_file: {self.sentinel_ca}}}}}"}

    def test_found(self):
        self.start()
        port = lab.free_port()
        cert, key = self.ca.issue("sentinel", "IP:127.0.0.1")
        self.sentinel_ca = self.ca.ca
        self.sentinel = Sentinel(self.lab.path("sentinel"), port, self.port, 1, f"""port 0
tls-port {port}
tls-replication yes
tls-cert-file {cert}
tls-key-file {key}
tls-ca-cert-file {self.ca.ca}
tls-auth-clients no
""")
        self.addCleanup(self.sentinel.end)
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.again()
        self.reaches(1)
        self.sentinel_ca = Authority(self.lab.path("other")).ca
        self.again()
        self.refused(f"Sentinel 127.0.0.1:{port}: not connected: certificate verify failed: self-signed")
        self.sentinel_ca = self.ca.ca
        self.again()
        self.redis.cli("SADD", "blocklist:bad", SECOND)
        self.reaches(2)


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class LeastPrivilege(Reached, unittest.TestCase):
    """scripts/deploy/redis/users.acl: enough, and no more."""

    def test_enough_and_no_more(self):
        kinds = ("set", "hash", "zset", "text", "log")
        self.begin({name: f"key: 'blocklist:{name}', refresh_s: 1, keyspace: true" for name in kinds}, lab.Lab.bare(),
                   **{"notify-keyspace-events": "Kshz$gx"})
        cli = self.redis.cli
        cli("SADD", "blocklist:set", FIRST)
        cli("HSET", "blocklist:hash", FIRST, "{}")
        cli("ZADD", "blocklist:zset", 4102444800, FIRST)
        cli("SET", "blocklist:text", FIRST)
        cli("XADD", "blocklist:log", "*", "op", "add", "indicator", FIRST)
        self.control = self.lab.start_control()
        for name in kinds:
            self.reaches(1, name)
        cli("SADD", "blocklist:set", SECOND)
        cli("HSET", "blocklist:hash", SECOND, "{}")
        cli("ZADD", "blocklist:zset", 4102444800, SECOND)
        for name in ("set", "hash", "zset"):
            cli("PUBLISH", f"blocklist:{name}:changes", "+" + SECOND)
            self.reaches(2, name)
        self.assertEqual(cli("ACL", "LOG", user="admin").strip(), "", "something was refused")
        # Each right is used: what a gateway never asks for is not granted.
        stats = cli("INFO", "commandstats", user="admin")
        with open(os.path.join(DEPLOY, "users.acl"), encoding="ascii") as f:
            line = next(line for line in f if line.startswith("user stanch "))
        rights = re.sub(r"\(.*?\)", "", line).split()  # selectors are the fleet's
        used = {line.split(":")[0].removeprefix("cmdstat_") for line in stats.splitlines() if "calls=" in line}
        granted = {word[1:] for word in rights if word[0] == "+"} - {"role"}  # with Sentinel
        self.assertEqual(granted - used, set())
        for words in (("SADD", "blocklist:set", THIRD), ("DEL", "blocklist:set"), ("GET", "other"), ("SSCAN", "other", 0),
                      ("PUBLISH", "blocklist:set:changes", "+x"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"),
                      ("EVAL", "return 1", 0), ("SUBSCRIBE", "other")):
            self.assertIn("NOPERM", cli(*words, user="stanch", check=False), words)


    def test_transactions_survive_a_restart(self):
        # Redis runs its append-only file as the user "default": what that one may not do within a MULTI is lost.
        self.begin({"bad": "key: 'blocklist:bad', refresh_s: 1"}, lab.Lab.bare())
        self.redis.cli("SADD", "blocklist:bad:new", FIRST, SECOND)
        self.redis.cli(text="MULTI\nRENAME blocklist:bad:new blocklist:bad\nHSET blocklist:bad:meta version 1 count 2\nEXEC\n")
        self.redis.end()
        self.redis.start()
        self.assertEqual(self.redis.cli("ACL", "LOG", user="admin").strip(), "")
        self.assertEqual(self.redis.cli("SCARD", "blocklist:bad").strip(), "2")
        self.control = self.lab.start_control()
        self.reaches(2)
        # And yet nobody comes in without a name.
        for words in (["PING"], ["--user", "default", "--pass", "", "PING"], ["-a", "", "GET", "x"]):
            done = subprocess.run(["redis-cli", "-s", self.redis.socket, *words], capture_output=True, text=True)
            self.assertIn("NOAUTH", done.stdout + done.stderr, words)


class NameServer(threading.Thread):
    """Answers A questions with `addresses` over UDP; None: says nothing."""

    def __init__(self):
        super().__init__(daemon=True)
        self.addresses, self.asked = None, 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                question, who = self.socket.recvfrom(512)
            except OSError:
                return
            self.asked += 1
            addresses = self.addresses
            if addresses is None or not question:
                continue
            end = question.index(b"\0", 12) + 5
            kind = struct.unpack(">H", question[end - 4:end - 2])[0]
            found = [socket.inet_aton(one) for one in addresses] if kind == 1 else []
            answer = question[:2] + struct.pack(">HHHHH", 0x8180 if addresses else 0x8183, 1, len(found), 0, 0) + question[12:end]
            for one in found:
                answer += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + one
            self.socket.sendto(answer, who)


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
@unittest.skipUnless(os.geteuid() == 0, "needs root for a resolv.conf of its own")
class Names(Reached, unittest.TestCase):
    """A Redis by name, from a name server of our own."""

    def server(self):
        return super().server() | {"address": f"redis.stanch.test:{self.port}", "connect_timeout_ms": 2000}

    def test_name_server_that_comes_and_changes(self):
        home = lab.Lab.bare()
        self.port = lab.free_port()
        dns = NameServer()
        self.addCleanup(dns.socket.close)
        self.begin({"bad": "key: 'blocklist:bad', refresh_s: 1"}, home, port=self.port)
        with open(home.path("resolv.conf"), "w", encoding="ascii") as f:
            f.write(f"nameserver 127.0.0.1:{dns.port}\noptions timeout:1 attempts:1\n")
        with open(home.path("control.log"), "ab") as log:
            self.control = home.spawn(
                None, "unshare", "--mount", "sh", "-c", 'mount --bind "$1" /etc/resolv.conf && exec "$2" --config "$3"', "sh",
                home.path("resolv.conf"), lab.binary("stanch-control"), home.path("stanch.yaml"), stdout=log, stderr=log)
        lab.wait_for(lambda: os.path.exists(home.path("run", "control.sock")), "control listens", 20)
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.says(lambda s: "not resolved" in s.get("why", "") or "no answer in time" in s.get("why", ""), "nobody answers")
        self.assertGreater(dns.asked, 0)
        dns.addresses = []
        self.says(lambda s: "not resolved: " in s.get("why", ""), "the name is not known", seconds=40)
        # Nobody listens at the first address: the next try takes the other.
        dns.addresses = ["127.0.0.9", "127.0.0.1"]
        self.reaches(1, seconds=40)
        # The old address goes out of use.
        self.redis.end()
        self.redis.settings = {"port": self.port, "bind": "127.0.0.8"}
        self.redis.start()
        dns.addresses = ["127.0.0.8"]
        self.redis.cli("SADD", "blocklist:bad", FIRST, SECOND)
        self.reaches(2, seconds=40)


def resp(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Hostile(threading.Thread):
    """Speaks Redis up to one answer of each connection, the next of `odd`: (words of the command, answer)."""

    good = {b"AUTH": b"+OK\r\n", b"SELECT": b"+OK\r\n", b"INFO": b"$4\r\na:b\n\r\n", b"HMGET": b"*2\r\n$-1\r\n$-1\r\n",
            b"SCARD": b":1\r\n", b"HLEN": b":1\r\n", b"ZCARD": b":1\r\n", b"STRLEN": b":9\r\n",
            b"XINFO": b"*0\r\n", b"SUBSCRIBE": resp(b"subscribe", b"x", b"1")}

    def __init__(self, odd):
        super().__init__(daemon=True)
        self.odd = odd
        self.lock, self.used = threading.Lock(), 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                one = self.socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(one,), daemon=True).start()

    def take(self, kind):
        """The first left whose connection is of that kind."""
        with self.lock:
            for n, (key, command, answer) in enumerate(self.odd):
                if (command == b"SUBSCRIBE") == kind:
                    self.used += 1
                    return self.odd.pop(n)
        return (b"+set\r\n", None, b"")

    def serve(self, one):
        plan = None
        stream = one.makefile("rb")
        try:
            while line := stream.readline():
                words = [stream.read(int(stream.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
                name = words[0]
                if plan is None and name not in (b"AUTH", b"SELECT"):
                    plan = self.take(name == b"SUBSCRIBE")
                if plan and name == plan[1]:
                    one.sendall(plan[2])
                    one.settimeout(5 if len(plan[2]) > 1 << 20 else 0.05)  # what it makes of it
                    if one.recv(1) == b"":
                        return
                    one.settimeout(None)
                    return
                one.sendall(plan[0] if plan and name == b"TYPE" else self.good.get(name, b"+OK\r\n"))
        except (OSError, ValueError):
            pass
        finally:
            stream.close()
            one.close()


class Nonsense(Reached, unittest.TestCase):
    """A server that is no Redis, or a bad one: the connection ends, control lives on."""

    patience = 500

    def server(self):
        return {"address": f"127.0.0.1:{self.hostile.port}", "timeout_ms": self.patience, "connect_timeout_ms": 500}

    def odd(self):
        answers = [b"+x\r\n", b":7\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"*1\r\n*1\r\n:1\r\n", b"*2\r\n:1\r\n:1\r\n",
                   b"*2\r\n$-1\r\n*-1\r\n", b"*2\r\n$1\r\n0\r\n*3\r\n:1\r\n$-1\r\n*0\r\n", b"*2147483647\r\n", b"\0\xff", b"+x\r\n" * 9]
        ways = {b"set": (b"SCARD", b"SSCAN"), b"hash": (b"HSCAN",), b"zset": (b"ZSCAN",), b"string": (b"STRLEN", b"GETRANGE"),
                b"none": (b"HMGET",), b"stream": ()}
        for kind, commands in ways.items():
            for command in (*commands, b"TYPE"):
                yield from ((b"+" + kind + b"\r\n", command, answer) for answer in answers)
        yield from ((b"+set\r\n", b"INFO", answer) for answer in answers)
        for answer in (*answers, b"*3\r\n:1\r\n:2\r\n:3\r\n", b"*3\r\n$7\r\nmessage\r\n:2\r\n:3\r\n", resp(b"message", b"x"),
                       resp(b"unsubscribe", b"blocklist:bad:changes", b"x"), resp(b"punsubscribe", b"x", b"x"), resp(b"message", b"y", b"z"),
                       b"*3\r\n$7\r\nmessage\r\n$21\r\nblocklist:bad:changes\r\n*1\r\n:1\r\n", b"*3\r\n*0\r\n*0\r\n*0\r\n"):
            yield (b"+set\r\n", b"SUBSCRIBE", answer)

    def lists_section(self, lists):
        text = super().lists_section(lists)
        body = text.split("\n", 1)[1]
        for n in range(1, 6):
            text += body.replace("name: feeds", f"name: feeds{n}").replace("name: bad", f"name: bad{n}")
        return text

    def start(self, odd):
        self.hostile = Hostile(odd)
        self.addCleanup(self.hostile.socket.close)
        self.lab = lab.Lab.bare()
        self.addCleanup(self.lab.close)
        self.lab.configure(self.lab.control_section(extra=self.lists_section({"bad": "key: 'blocklist:bad', refresh_s: 1"})))
        self.control = self.lab.start_control()

    def test_an_answer_without_end(self):
        self.patience = 30000
        self.start([(b"+set\r\n", b"SCARD", b"$2000000000\r\n" + bytes(100 << 20))])
        lab.wait_for(lambda: "an answer without end" in self.lab.log("control") or self.control.poll() is not None, "it is cut off", 30)
        self.assertIsNone(self.control.poll(), self.lab.log("control")[-3000:])

    def test_every_answer(self):
        odd = list(self.odd())
        many = len(odd)
        self.start(odd)
        lab.wait_for(lambda: self.hostile.used == many or self.control.poll() is not None, "each answer was given", 120)
        self.assertIsNone(self.control.poll(), self.lab.log("control")[-3000:])
        self.assertIn("it sent what no Redis sends", self.lab.log("control"))
        self.assertEqual(len(self.lists()), 6)


if __name__ == "__main__":
    unittest.main()
