# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Three control daemons and a real Redis: leaders killed and stopped, Redis emptied, put back and written to by
somebody else. Nothing that was confirmed is lost, and all end up with the leader's digest."""

import signal
import unittest

import lab
from redis_peer import AVAILABLE, Redis

PREFIX = "stanch:lab:"
KEY = "0123456789abcdef0123456789abcdef"
OTHER = "another key, of which nobody knew at first"


def host(n):
    return f"198.51.100.{n}"


class Gateway:
    def __init__(self, test, name, role="auto"):
        self.test, self.name, self.role = test, name, role
        self.lab = lab.Lab.bare()
        test.addCleanup(self.lab.close)
        self.control, self.keys = None, (KEY, None)

    def configure(self):
        section = f"  fleet:\n    id: lab\n    gateway: {self.name}\n    role: {self.role}\n    lease_ms: 2000\n"
        section += f"    redis: {{address: {self.test.redis.socket}, user: admin, "
        section += f"password_file: {self.lab.secret('redis.password', 'change-me-admin')}}}\n"
        section += f"    key_file: {self.lab.secret('key', self.keys[0])}\n"
        if self.keys[1]:
            section += f"    previous_key_file: {self.lab.secret('previous', self.keys[1])}\n"
        self.lab.configure(self.lab.control_section(extra=section))

    def start(self):
        self.configure()
        self.control = self.lab.start_control()

    def end(self, how=signal.SIGKILL):
        self.lab.end(self.control, how)
        self.control = None

    def status(self):
        return (self.lab.stanch_json("status") or {}).get("fleet") or {}

    def alarms(self):
        return self.status().get("counters", {}).get("alarms", {})

    def block(self, *indicators):
        self.lab.stanch("block", *indicators, "--reason", "a test", "--wait", "0")

    def denied(self):
        claims = (self.lab.stanch_json("list") or {}).get("claims", [])
        return {claim["indicator"] for claim in claims if claim["state"] != "away"}


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Protocol(unittest.TestCase):
    def setUp(self):
        home = lab.Lab.bare()
        self.addCleanup(home.close)
        self.redis = Redis(home.path("redis"))
        self.addCleanup(lambda: self.redis.end(signal.SIGKILL))
        self.gateways = [Gateway(self, name) for name in ("gw-a", "gw-b", "gw-c")]

    def cli(self, *words):
        return self.redis.cli(*words, user="admin")

    def told(self, what, error):
        text = "\n".join(f"--- {g.name}: {g.status()}\n" + "\n".join(g.lab.log("control").splitlines()[-20:])
                         for g in self.gateways if g.control)
        raise AssertionError(f"{what}: {error}\n{text}") from error

    def until(self, condition, what, seconds=30):
        try:
            return lab.wait_for(condition, what, seconds)
        except TimeoutError as error:
            self.told(what, error)

    def start(self):
        for gateway in self.gateways:
            gateway.start()
        return self.leader()

    def running(self):
        return [g for g in self.gateways if g.control]

    def leader(self, but=None):
        return self.until(lambda: next((g for g in self.running() if g is not but and g.status().get("leads")), None),
                          "a gateway leads")

    def followers(self, leader):
        return [g for g in self.running() if g is not leader]

    def all_deny(self, wanted):
        """Every gateway has exactly this, at one place of the log, with one digest, nothing under way."""
        wanted = set(wanted)

        def settled():
            states = [g.status() for g in self.running()]
            return (len({(s.get("number"), s.get("digest")) for s in states}) == 1
                    and all(s.get("equal") and not s.get("asks") and not s.get("local") for s in states)
                    and all(g.denied() == wanted for g in self.running()))
        self.until(settled, f"all deny {sorted(wanted)}")

    def test_three(self):
        leader = self.start()
        follower = self.followers(leader)[0]
        leader.block(host(1))
        self.all_deny([host(1)])
        follower.block(host(2))
        self.assertIn(host(2), follower.denied())
        self.all_deny([host(1), host(2)])
        follower.lab.stanch("unblock", host(2), "--reason", "a test")
        self.all_deny([host(1)])

    def test_leader_killed(self):
        leader = self.start()
        leader.block(host(1))
        self.all_deny([host(1)])
        epoch = leader.status()["epoch"]
        leader.end()
        second = self.leader()
        self.assertGreater(second.status()["epoch"], epoch)
        second.block(host(2))
        self.followers(second)[0].block(host(3))
        leader.start()
        self.all_deny([host(1), host(2), host(3)])

    def test_leader_stopped(self):
        """Past its lease; then it goes on: it leads no longer, and nothing is lost."""
        leader = self.start()
        leader.block(host(1))
        self.all_deny([host(1)])
        leader.control.send_signal(signal.SIGSTOP)
        others = self.followers(leader)
        second = self.until(lambda: next((g for g in others if g.status().get("leads")), None), "another leads")
        second.block(host(2))
        leader.control.send_signal(signal.SIGCONT)
        self.until(lambda: leader.status().get("leads") is False, "it steps down")
        self.assertEqual(leader.status()["lease_ms"], 0)
        leader.block(host(3))
        self.all_deny([host(1), host(2), host(3)])

    def test_flushed(self):
        leader = self.start()
        leader.block(host(1), host(2))
        self.all_deny([host(1), host(2)])
        self.cli("FLUSHALL")
        self.leader().block(host(3))
        self.until(lambda: self.cli("EXISTS", PREFIX + "seal").strip() == "1", "a checkpoint is there")
        self.all_deny([host(1), host(2), host(3)])

    def test_older_dump(self):
        leader = self.start()
        leader.block(host(1))
        self.all_deny([host(1)])
        self.cli("CONFIG", "SET", "appendonly", "no")
        self.cli("SAVE")
        leader.block(host(2))
        leader.lab.stanch("unblock", host(1), "--reason", "a test")
        self.all_deny([host(2)])
        self.redis.end(signal.SIGKILL)
        follower = self.followers(leader)[0]
        follower.block(host(3))
        self.assertEqual(follower.denied(), {host(2), host(3)})
        self.redis.settings["appendonly"] = "no"
        self.redis.start()
        self.all_deny([host(2), host(3)])

    def test_reloaded(self):
        """DEBUG RELOAD: the same data, connections stay."""
        leader = self.start()
        leader.block(host(1))
        self.all_deny([host(1)])
        self.redis.end(signal.SIGTERM)
        self.redis.settings["enable-debug-command"] = "yes"
        self.redis.start()
        self.cli("DEBUG", "RELOAD")
        self.leader().block(host(2))
        self.all_deny([host(1), host(2)])

    def test_forged(self):
        leader = self.start()
        leader.block(host(1))
        self.all_deny([host(1)])
        follower = self.followers(leader)[0]
        self.cli("XADD", PREFIX + "log", "4000000-1", "k", "s", "p", "x" * 48, "d", '{"items":[]}', "m", "x" * 32)
        self.until(lambda: follower.alarms().get("forged"), "an alarm")
        leader.block(host(2))
        self.all_deny([host(1), host(2)])
        # A record of before, put behind the newest: the chain refuses it.
        before = self.cli("--no-raw", "XRANGE", PREFIX + "log", "-", "+", "COUNT", "1")
        self.assertIn("1)", before)
        self.cli("COPY", PREFIX + "log", PREFIX + "kept")
        leader.block(host(3))
        self.all_deny([host(1), host(2), host(3)])
        self.cli("RENAME", PREFIX + "kept", PREFIX + "log")  # an older log
        self.leader().block(host(4))
        self.all_deny([host(1), host(2), host(3), host(4)])

    def test_late(self):
        """One that starts when the log is trimmed takes the checkpoint; a gap is closed the same way."""
        late = self.gateways.pop()
        leader = self.start()
        leader.block(*[host(n) for n in range(1, 30)])
        self.all_deny([host(n) for n in range(1, 30)])
        number = leader.status()["number"]
        self.until(lambda: self.cli("EXISTS", PREFIX + "seal").strip() == "1", "a checkpoint is there")
        self.cli("XTRIM", PREFIX + "log", "MINID", f"1-{number}")
        self.gateways.append(late)
        late.start()
        self.all_deny([host(n) for n in range(1, 30)])
        self.assertGreater(late.status()["counters"]["checkpoints_in"], 0)
        late.end()
        for n in range(40, 50):
            leader.block(host(n))
        leader.lab.stanch("unblock", host(1), "--reason", "a test")
        wanted = [host(n) for n in [*range(2, 30), *range(40, 50)]]
        self.all_deny(wanted)
        self.cli("XTRIM", PREFIX + "log", "MAXLEN", "1")
        late.start()
        self.all_deny(wanted)
        self.assertTrue(late.alarms().get("gap"))

    def test_keys(self):
        """All take the new key too; then all seal with it; then the old one goes."""
        leader = self.start()
        wanted = [host(1)]
        leader.block(host(1))
        self.all_deny(wanted)
        for step, keys in enumerate(((KEY, OTHER), (OTHER, KEY), (OTHER, None))):
            made = self.leader().status()["counters"]["checkpoints_out"]
            for gateway in self.gateways:
                gateway.keys = keys
                gateway.configure()
                gateway.control.send_signal(signal.SIGHUP)
            self.until(lambda: self.leader().status()["counters"]["checkpoints_out"] > made, "a checkpoint by the key")
            self.gateways[step].block(host(10 + step))
            wanted.append(host(10 + step))
            self.all_deny(wanted)
        for gateway in self.gateways:
            self.assertFalse(gateway.alarms().get("forged"), gateway.lab.log("control"))


if __name__ == "__main__":
    unittest.main()
