# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The bench `fleet`, as far as several gateways go: a leader and another that may lead, whose data planes are stand-ins,
and a follower with the real data plane, on which a stream of packets stops."""

import os
import selectors
import signal
import socket
import statistics
import time

import bench_redis
import lab as labs
from figures import progress, tell
from fleet_case import Fleet, Gateway
from redis_peer import Redis, Sentinel
from thehive_client import TheHive

SMALLER = int(os.environ.get("STANCH_BENCH_SMALLER", "1"))
POINTS = 300 if SMALLER == 1 else 5
ROUNDS = 5 if SMALLER == 1 else 1
LISTS = """  redis:
    - name: feeds
      address: {redis}
      user: stanch
      password_file: {word}
      lists:
        - {{name: bad, key: 'blocklist:bad', refresh_s: 3600, max_members: 2000000}}
"""


def addresses():
    """Of 198.18.0.0/15, each once."""
    return (f"198.{18 + (i >> 16)}.{i >> 8 & 255}.{i & 255}" for i in range(1, 1 << 17))


class Three:
    """with Three(…) as t: gw-a leads at first, gw-b may, gw-c follows and has the lab."""

    def __init__(self, hive=None, reach=None, redis=None, follower=True, extra="", peers=True):
        self.lab = labs.Lab() if follower else None
        self.fleet = Fleet(names=(), start=False, redis=redis)
        self.hive, self.fresh = hive, addresses()
        if follower:
            self.lab.__enter__()
            self.lab.ip("route", "add", "local", "198.18.0.0/15", "dev", "lo", name="outside")
        for name, home in (("gw-a", None), ("gw-b", None), ("gw-c", self.lab))[:3 if follower else 2]:
            gateway = Gateway(self.fleet, name, role="follower" if home else "auto", peer=peers and home is None, home=home)
            gateway.reach, gateway.listen = reach, f"127.0.0.1:{labs.free_port()}"
            gateway.extra = extra + LISTS.format(redis=self.fleet.target, word=gateway.home.secret("list.password", "change-me-stanch"))
            if reach:
                gateway.extra = extra
            if hive:
                gateway.hive = {"url": hive.url, "key": hive.key, "hook": "bench-word",
                                "more": {"max_per_second": 1000, "incremental_s": 1}}
            self.fleet.gateways.append(gateway)

    def __enter__(self):
        if self.lab:
            self.fleet["gw-c"].plane_settings = {"idle": "poll"}
            self.fleet["gw-c"].configure()
            self.lab.start_dataplane()
        self.fleet["gw-a"].start()
        self.fleet.leader(30)
        for gateway in self.fleet.gateways[1:]:
            gateway.start()
        labs.wait_for(lambda: all(g.status().get("equal") for g in self.fleet.gateways), "all are equal", 60)
        return self

    def __exit__(self, *_):
        self.fleet.close()

    def stops(self, stream, address, act, seconds=60):
        """Milliseconds from act() to the first packet to the address that the follower no longer carries."""
        stream.target = address
        mark = stream.number
        labs.wait_for(lambda: stream.seen > mark + 3, "the stream arrives", 20)
        asked = time.monotonic()
        act()
        # A busy machine stops for a moment too: only with the entry there it is the list that stops it.
        labs.wait_for(lambda: stream.number - stream.seen > 300 and self.lab.stanch_json("why", address)["entries"],
                      "the stream stops", seconds)
        stopped = stream.sent[stream.seen + 1]
        stream.target = labs.WORLD[1]
        return max(0.0, stopped - asked) * 1e3

    def case(self, address):
        case = self.hive.case_create("bench", field="enforce")
        self.hive.observable_create(case, address)
        return case


def points(stream_of):
    """PUBLISH by redis-cli, read by the leader → the first packet that the follower no longer carries."""
    with Three() as three:
        redis = three.fleet.redis
        stream = stream_of(three.lab)
        stream.start()
        times = []

        def publish(address):
            redis.cli("PUBLISH", "blocklist:bad:changes", "+" + address)
        redis.cli("SADD", "blocklist:bad", "203.0.113.200")
        labs.wait_for(lambda: three.fleet["gw-a"].stanch("lists", "read", "bad").returncode == 0, "the list is read", 20)
        for _ in range(POINTS):
            address = next(three.fresh)
            redis.cli("SADD", "blocklist:bad", address)
            times.append(three.stops(stream, address, lambda a=address: publish(a)))
            progress(f"publish-to-drop {len(times)} of {POINTS}")
        progress("")
        stream.go = False
        times.sort()
        tell("fleet", "publish-to-drop-median", statistics.median(times), "ms")
        tell("fleet", "publish-to-drop-p99", times[int(len(times) * 0.99)], "ms")


def failovers(stream_of):
    """From the fault until the verdict on a case that is closed at that moment drops packets on the follower."""
    with TheHive(version=5, custom_field="stanch-action:string") as hive, Three(hive=hive) as three:
        stream = stream_of(three.lab)
        stream.start()
        for name, how in (("killed", signal.SIGKILL), ("paused", signal.SIGSTOP)):
            times = []
            for i in range(ROUNDS):
                progress(f"failover-leader-{name} {i + 1} of {ROUNDS}")
                labs.wait_for(lambda: all(g.status().get("equal") and g.status().get("leader_alive")
                                          for g in three.fleet.gateways), "all are equal", 60)
                leader = three.fleet.leader(60)
                address = next(three.fresh)
                case = three.case(address)

                def fault(control=leader.control, case=case):
                    control.send_signal(how)
                    hive.close(case)
                times.append(three.stops(stream, address, fault))
                if how == signal.SIGSTOP:
                    leader.control.send_signal(signal.SIGCONT)
                else:
                    leader.kill()
                    leader.start()
            progress("")
            tell("fleet", f"failover-leader-{name}", max(times), "ms")
        stream.go = False


def failover_redis(stream_of):
    """The master is killed; three Sentinels, down-after 3 s, name the replica."""
    root = labs.Lab.bare()
    more = {"masteruser": "replica", "masterauth": "change-me-replica", "repl-diskless-sync-delay": 0}
    ports = [labs.free_port() for _ in range(5)]
    master = Redis(root.path("master"), port=ports[0], **more)
    replica = Redis(root.path("replica"), port=ports[1], replicaof=f"127.0.0.1 {ports[0]}", **more)
    sentinels = [Sentinel(root.path(f"sentinel{p}"), p, ports[0], 2) for p in ports[2:]]
    reach = "sentinel: {master: blocklists, addresses: [" + ", ".join(f"'127.0.0.1:{p}'" for p in ports[2:]) + \
        f"], user: stanch, password_file: {root.secret('sentinel.password', 'change-me-stanch')}}}"
    try:
        for one in sentinels:
            labs.wait_for(lambda one=one: one.cli("SENTINEL", "CKQUORUM", "blocklists").startswith("OK 3"), "a quorum", 30)
            one.cli("SENTINEL", "SET", "blocklists", "down-after-milliseconds", "3000")
        labs.wait_for(lambda: "master_link_status:up" in replica.cli("INFO", "replication", user="admin"), "it replicates", 30)
        with TheHive(version=5, custom_field="stanch-action:string") as hive, \
                Three(hive=hive, reach=reach, redis=master) as three:
            stream = stream_of(three.lab)
            stream.start()
            address = next(three.fresh)
            case = three.case(address)

            def fault():
                master.end(signal.SIGKILL)
                hive.close(case)
            tell("fleet", "failover-redis-killed", three.stops(stream, address, fault, 120), "ms")
            stream.go = False
    finally:
        for one in [*sentinels, replica, master]:
            one.end(signal.SIGKILL)
        root.close()


def octets_of(redis):
    keys = redis.cli("--scan", "--pattern", "stanch:lab:*", user="admin").split()
    return sum(int(redis.cli("MEMORY", "USAGE", key, "SAMPLES", 0, user="admin")) for key in keys)


def size():
    """A checkpoint of a list, in Redis; then what a follower reads and sends at 100 changes a second."""
    entries = 1000000 // SMALLER
    limits = f"  ledger:\n    max_entries: {entries * 2}\n"
    with Three(follower=False, peers=False, extra=limits) as three:
        redis, fleet = three.fleet.redis, three.fleet
        progress(f"publishing {entries} members")
        redis.many("SADD", "blocklist:bad", bench_redis.members(0, entries))
        redis.cli("HSET", "blocklist:bad:meta", "version", 1, "count", entries)
        labs.wait_for(lambda: fleet["gw-a"].stanch("lists", "read", "bad").returncode == 0, "the list is read", 20)
        labs.wait_for(lambda: fleet["gw-b"].home.stanch_json("status")["count"] == entries
                      and fleet["gw-b"].status()["equal"], "the follower has it", 300)
        # A log longer than it should be is followed by a checkpoint, and cut.
        made = fleet["gw-a"].status()["counters"]["checkpoints_out"]
        labs.wait_for(lambda: fleet["gw-a"].status()["counters"]["checkpoints_out"] > made
                      or octets_of(redis) < entries * 24, "a checkpoint of it", 180)
        progress("")
        tell("fleet", "redis-bytes-per-entry", octets_of(redis) / entries, "octets")
        publisher = socket.socket(socket.AF_UNIX)
        publisher.connect(redis.socket)
        publisher.sendall(b"AUTH publisher change-me-publisher\r\n")
        before, begun, seconds, n = list(fleet["gw-b"].proxy.octets), time.monotonic(), 10.0, 0
        while time.monotonic() - begun < seconds:
            address = next(three.fresh)
            publisher.sendall(f"SADD blocklist:bad {address}\r\nPUBLISH blocklist:bad:changes +{address}\r\n".encode())
            publisher.recv(4096)
            n += 1
            labs.wait_for(lambda: time.monotonic() - begun >= n / 100, "the next change's time", 5)
        took = time.monotonic() - begun
        publisher.close()
        after = fleet["gw-b"].proxy.octets
        tell("fleet", "follower-traffic", (sum(after) - sum(before)) / took, "octets/s")
        tell("fleet", "follower-traffic-changes", n / took, "1/s")


class Followers:
    """Connections that wait for records as a follower does."""

    def __init__(self, redis, n):
        self.selector, self.sockets = selectors.DefaultSelector(), []
        for _ in range(n):
            one = socket.socket(socket.AF_UNIX)
            one.connect(redis.socket)
            one.sendall(b"AUTH stanch-fleet change-me-stanch-fleet\r\n")
            one.recv(64)
            self.sockets.append(one)
            self.selector.register(one, selectors.EVENT_READ)

    def last(self, act):
        """Milliseconds from act() until the last of them has a record."""
        for one in self.sockets:
            one.sendall(b"XREAD BLOCK 0 STREAMS stanch:lab:log $\r\n")
        labs.wait_for(lambda: True, "they wait")
        begun, waiting = time.monotonic(), set(self.sockets)
        act()
        while waiting:
            for key, _ in self.selector.select(10):
                if key.fileobj.recv(1 << 20):
                    waiting.discard(key.fileobj)
        return (time.monotonic() - begun) * 1e3

    def close(self):
        for one in self.sockets:
            one.close()


def growth(n=200):
    with Three(follower=False) as three:
        followers = Followers(three.fleet.redis, n)
        times = []
        for _ in range(50 if SMALLER == 1 else 3):
            address = next(three.fresh)
            times.append(followers.last(lambda a=address: three.fleet["gw-a"].block(a)))
            labs.wait_for(lambda: three.fleet["gw-b"].status().get("lag") == 0, "the fleet is quiet", 10)
            for one in followers.sockets:  # what came behind it
                one.setblocking(False)
                try:
                    one.recv(1 << 20)
                except BlockingIOError:
                    pass
                one.setblocking(True)
        followers.close()
        tell("fleet", "growth-200", statistics.median(times), "ms")


def fleet(stream_of):
    points(stream_of)
    failovers(stream_of)
    failover_redis(stream_of)
    size()
    growth()
