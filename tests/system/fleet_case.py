# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A fleet on one machine: control daemons, each with a data plane's peer, one real Redis with the recommended rights,
and a proxy before each gateway."""

import os
import signal
import sys
import time

import lab
from redis_peer import Redis

sys.path.insert(0, os.path.join(lab.ROOT, "tests", "peers"))
import dataplane_peer  # noqa: E402
from redis_proxy import Proxy, Wires  # noqa: E402

KEY = "0123456789abcdef0123456789abcdef"


class Gateway:
    def __init__(self, fleet, name, role="auto", extra="", settings="", peer=True, home=None):
        self.fleet, self.name, self.role, self.extra, self.settings = fleet, name, role, extra, settings
        self.home = home or lab.Lab.bare()
        for folder in ("list", "state", "run"):
            os.makedirs(self.home.path(folder), exist_ok=True)
        self.proxy = Proxy(fleet.wires, self.home.path("redis.sock"), fleet.target)
        self.plane = dataplane_peer.DataPlane(self.home.path("run"), fleet.build) if peer else None
        self.control, self.plane_settings = None, {}
        self.reach = None  # in place of the proxy: keys of the section redis
        self.hive = self.f5 = self.listen = None

    def section(self):
        text = f"  fleet:\n    id: lab\n    gateway: {self.name}\n    role: {self.role}\n"
        text += f"    key_file: {self.home.secret('fleet.key', self.fleet.key)}\n"
        text += f"    redis:\n      {self.reach or 'address: ' + self.home.path('redis.sock')}\n      user: stanch-fleet\n"
        text += f"      password_file: {self.home.secret('redis.password', 'change-me-stanch-fleet')}\n"
        return text + self.settings

    def configure(self):
        return self.home.configure(self.home.control_section(
            hive=self.hive, f5=self.f5, listen=self.listen, extra=self.section() + self.extra), **self.plane_settings)

    def start(self):
        self.configure()
        path = self.home.path("run", "control.sock")
        if os.path.exists(path):  # it was killed
            os.unlink(path)
        self.control = self.home.start_control()

    def kill(self, how=signal.SIGKILL):
        if self.control and self.control.poll() is None:
            self.control.send_signal(signal.SIGCONT)
            self.home.end(self.control, how)
        self.control = None

    def stanch(self, *words):
        return self.home.stanch(*words)

    def status(self):
        """Of the fleet, as this gateway sees it; {} where it does not answer."""
        return (self.home.stanch_json("status") or {}).get("fleet", {})

    def whole(self):
        return self.home.stanch_json("fleet") or {}

    def leads(self):
        return bool(self.control) and self.status().get("leads", False)

    def block(self, *indicators):
        done = self.stanch("block", *indicators, "--reason", "a test", "--wait", "0")
        if done.returncode not in (0, 2):  # recorded, perhaps not applied yet
            raise RuntimeError(f"{self.name}: {done.stdout}{done.stderr}")

    def digest(self):
        return (self.home.stanch_json("status") or {}).get("digest", self.name)

    def log(self):
        return self.home.log("control")

    def close(self):
        self.kill(signal.SIGTERM)
        if self.plane:
            self.plane.close()
        self.proxy.close()
        self.home.close()


class Fleet:
    def __init__(self, names=("gw-a", "gw-b", "gw-c"), start=True, redis=None, key=KEY, **options):
        self.root = lab.Lab.bare()
        self.key = key
        self.wires = Wires()
        self.build = dataplane_peer.build()
        self.redis = redis or Redis(self.root.path("redis"))
        self.target = self.redis.socket
        self.gateways = [Gateway(self, name, **options) for name in names]
        if start:
            for gateway in self.gateways:
                gateway.start()

    def __getitem__(self, name):
        return next(g for g in self.gateways if g.name == name)

    def leader(self, seconds=20):
        """The gateway that leads, once one does."""
        return lab.wait_for(lambda: next((g for g in self.gateways if g.leads()), None), "a gateway leads", seconds)

    def followers(self):
        leader = self.leader()
        return [g for g in self.gateways if g is not leader]

    def reaches(self, condition, what, seconds=20):
        try:
            return lab.wait_for(condition, what, seconds)
        except TimeoutError as error:
            told = "\n".join(f"--- {g.name}: {g.status()}\n" + "\n".join(g.log().splitlines()[-25:])
                             for g in self.gateways if g.control)
            raise AssertionError(f"{error}\n{told}") from error

    def enforce(self, wanted, gateways=None, seconds=20):
        """Every data plane gets to hold exactly this."""
        wanted = set(wanted)
        gateways = self.gateways if gateways is None else gateways
        self.reaches(lambda: all(g.plane.enforced() == wanted for g in gateways),
                     f"all enforce {sorted(wanted)[:5]}…: "
                     f"{[(g.name, sorted(g.plane.enforced() ^ wanted)[:5]) for g in gateways]}", seconds)

    def equal(self, seconds=30):
        """Every gateway has the leader's digest, nothing is on its way, and `stanch fleet verify` says so."""
        self.reaches(lambda: len({g.digest() for g in self.gateways}) == 1
                     and all(g.status().get("equal") and not g.status().get("asks") for g in self.gateways),
                     "equal", seconds)
        self.reaches(lambda: self.gateways[0].stanch("fleet", "verify").returncode == 0, "verify is content", 10)

    def close(self):
        for gateway in self.gateways:
            gateway.close()
        self.wires.close()
        self.redis.end()
        self.root.close()


def until(moment):
    """Wait for a moment of the monotonic clock."""
    lab.wait_for(lambda: time.monotonic() >= moment, "the time has come", max(1.0, moment - time.monotonic() + 5))
