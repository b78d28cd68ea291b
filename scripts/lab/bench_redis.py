# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The bench `fleet`, as far as one gateway goes: lists published in Redis, to what the data plane has applied. The rest is
bench_fleet.py."""

import os
import time

import lab as labs
from figures import progress, tell
from redis_peer import Redis

SMALLER = int(os.environ.get("STANCH_BENCH_SMALLER", "1"))


def members(first, last):
    """Hosts of 20.0.0.0/8 and on, in no order that a page has."""
    return (f"{20 + (i >> 24)}.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}" for i in range(first, last))


class Gateway:
    """A lab with a Redis and one list of it."""

    def __init__(self, lab, size):
        self.lab = lab
        self.redis = Redis(lab.path("redis"))
        lab.configure(lab.control_section(extra=f"""  ledger:
    max_entries: {size + size // 10 + 5000}
  redis:
    - name: feeds
      address: {self.redis.socket}
      user: stanch
      password_file: {lab.secret('redis.password', 'change-me-stanch')}
      lists:
        - {{name: bad, key: 'blocklist:bad', refresh_s: 3600, max_members: {2 * size}}}
"""), capacity=size + size // 10 + 5000, memory=128 + size * 32 // 1000000, idle="poll")
        self.plane = lab.start_dataplane()

    def publish(self, first, last, size, version):
        progress(f"publishing {last - first} members")
        self.redis.many("SADD", "blocklist:bad", members(first, last))
        self.redis.cli("HSET", "blocklist:bad:meta", "version", version, "count", size)
        progress("")

    def applied(self, size, digest=None):
        """The data plane has so many entries, with another digest than that."""
        live = (self.lab.ctl_status() or {"list": {}})["list"]
        return live.get("entries") == size and live.get("digest") != digest and live.get("digest")


def whole(size, name):
    with labs.Lab() as lab:
        gateway = Gateway(lab, size)
        try:
            gateway.publish(0, size, size, 1)
            begun = time.monotonic()
            control = lab.start_control()
            digest = labs.wait_for(lambda: gateway.applied(size), "the list is enforced", 600)
            tell("fleet", f"list-{name}-to-enforced", (time.monotonic() - begun) * 1e3, "ms")
            with open(f"/proc/{control.pid}/status", encoding="ascii") as f:
                peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))
            tell("fleet", f"list-{name}-peak-mib", peak / 1024, "MiB")
            if name != "1M":
                return
            half = size // 200
            gateway.redis.many("SREM", "blocklist:bad", members(0, half))
            gateway.publish(size, size + half, size, 2)
            begun = time.monotonic()
            lab.stanch("lists", "read", "bad")
            labs.wait_for(lambda: gateway.applied(size, digest) and not lab.stanch_json("why", "20.0.0.1")["entries"],
                          "the change is enforced", 60)
            tell("fleet", f"list-{name}-1pct-change", (time.monotonic() - begun) * 1e3, "ms")
        finally:
            gateway.redis.end()


def fleet():
    whole(1000000 // SMALLER, "1M")
    whole(10000000 // SMALLER, "10M")
