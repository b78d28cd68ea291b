# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Lists published in a real Redis by redis-cli: each type, hints, metadata, missing keys, brakes, restarts."""

import os
import re
import signal
import unittest

import lab
from lab import WORLD
from redis_peer import AVAILABLE, Redis

FIRST, SECOND, THIRD = WORLD


def hosts(n, start=0):
    return [f"198.18.{i >> 8}.{i & 255}" for i in range(start, start + n)]


class Listed:
    """control with one Redis and the lists that a test names."""

    def begin(self, lists, home, extra="", **settings):
        self.lab = home
        self.addCleanup(home.close)
        self.redis = Redis(home.path("redis"), **settings)
        self.addCleanup(self.redis.end)
        self.section = self.lists_section(lists) + extra
        home.configure(home.control_section(extra=self.section))

    def lists_section(self, lists):
        text = f"  redis:\n    - name: feeds\n      address: {self.redis.socket}\n      user: stanch\n"
        text += f"      password_file: {self.lab.secret('redis.password', 'change-me-stanch')}\n      lists:\n"
        for name, more in lists.items():
            text += f"        - {{name: {name}, key: 'blocklist:{name}'{more}}}\n"
        return text

    def lists(self):
        return {one["name"]: one for one in (self.lab.stanch_json("lists") or {"lists": []})["lists"]}

    def state(self, name="bad"):
        return self.lists().get(name, {})

    def reaches(self, members, name="bad", seconds=20):
        try:
            lab.wait_for(lambda: self.state(name).get("members") == members, f"{name} has {members} members", seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.lists()}\n{self.lab.log('control')}") from error

    def says(self, condition, what, name="bad", seconds=20):
        try:
            return lab.wait_for(lambda: condition(self.state(name)), what, seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.lists()}\n{self.lab.log('control')}") from error

    def part(self):
        return next(p for p in self.lab.stanch_json("status")["sources"] if p["name"] == "feeds")

    def why(self, indicator):
        return self.lab.stanch_json("why", indicator)

    def denied(self, indicator):
        return any(e["indicator"] == indicator for e in self.why(indicator)["entries"])

    def read(self, name="bad"):
        lab.wait_for(lambda: self.lab.stanch("lists", "read", name).returncode == 0, "it is connected, and reads")

    def meta(self, count, version="1", name="bad"):
        self.redis.cli("HSET", f"blocklist:{name}:meta", "version", version, "count", count)


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Lists(Listed, unittest.TestCase):
    def start(self, lists=None, **settings):
        self.begin(lists or {"bad": ", refresh_s: 1"}, lab.Lab.bare(), **settings)
        self.control = self.lab.start_control()

    def test_every_type(self):
        self.start({name: ", refresh_s: 1" for name in ("set", "hash", "zset", "text", "json", "log")})
        cli = self.redis.cli
        cli("SADD", "blocklist:set", "203.0.113.1", "*.evil.example", "no thing", "10.0.0.1")
        cli("HSET", "blocklist:hash", "203.0.113.2", '{"action":"monitor","reason":"a scanner","reference":"TI-7"}',
            "203.0.113.3", "in words")
        cli("ZADD", "blocklist:zset", 4102444800, "203.0.113.4", 1000, "203.0.113.5", 4102444800000, "203.0.113.6")
        cli("SET", "blocklist:text", "# a comment\n203.0.113.7\n\n 203.0.113.8 \n2001:db8::/48")
        cli("SET", "blocklist:json", '["203.0.113.9", {"indicator": "203.0.113.10", "until": 4102444800}]')
        cli("XADD", "blocklist:log", "*", "op", "add", "indicator", "203.0.113.11", "reason", "from a stream")
        cli("XADD", "blocklist:log", "*", "indicator", "203.0.113.12")
        cli("XADD", "blocklist:log", "*", "op", "remove", "indicator", "203.0.113.12")
        for name, members in (("set", 2), ("hash", 2), ("zset", 2), ("text", 3), ("json", 2), ("log", 1)):
            self.reaches(members, name)
        one = self.state("set")
        self.assertEqual((one["refused"], one["protected"]), (1, 1))
        self.assertIn("no thing", one["samples"][0])
        claim = self.why("203.0.113.2")["claims"][0]
        self.assertEqual((claim["source"], claim["action"], claim["reason"], claim["ref"]),
                         ("list:hash", "monitor", "a scanner", "TI-7"))
        self.assertEqual(self.why("203.0.113.3")["claims"][0]["reason"], "in words")
        self.assertTrue(self.denied("203.0.113.11"))
        self.assertFalse(self.denied("203.0.113.5"))
        cli("XADD", "blocklist:log", "*", "op", "remove", "indicator", "203.0.113.11")
        self.reaches(0, "log")
        self.assertEqual(self.part()["state"], "good")

    def test_hints_are_settled_by_a_point_read(self):
        self.start({"bad": ", refresh_s: 3600"})
        self.redis.cli("SADD", "blocklist:bad", *hosts(10))
        self.read()
        self.reaches(10)
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.redis.cli("PUBLISH", "blocklist:bad:changes", "+" + FIRST)
        self.reaches(11)
        # A hint is not believed: what it says is not so.
        self.redis.cli("PUBLISH", "blocklist:bad:changes", "-" + FIRST)
        self.redis.cli("PUBLISH", "blocklist:bad:changes", "+" + SECOND)
        self.redis.cli("SREM", "blocklist:bad", hosts(1)[0])
        self.redis.cli("PUBLISH", "blocklist:bad:changes", "-" + hosts(1)[0])
        self.reaches(10)
        self.assertTrue(self.denied(FIRST))
        self.assertFalse(self.denied(SECOND))
        self.assertEqual(self.state()["points"], 4)

    def test_metadata_that_disagree(self):
        self.start()
        self.meta(3)
        self.redis.cli("SADD", "blocklist:bad", FIRST, SECOND)
        self.says(lambda s: s.get("disagreed"), "the reading does not count")
        self.assertEqual(self.state()["members"], 0)
        self.redis.cli("SADD", "blocklist:bad", THIRD)
        self.reaches(3)
        # Confirmed by metadata: a removal needs no second reading.
        self.redis.cli("SREM", "blocklist:bad", THIRD)
        self.meta(2, "2")
        self.reaches(2, seconds=4)

    def test_without_metadata_a_removal_is_read_twice(self):
        self.start()
        self.redis.cli("SADD", "blocklist:bad", FIRST, SECOND)
        self.reaches(2)
        self.redis.cli("SREM", "blocklist:bad", SECOND)
        self.says(lambda s: s.get("unconfirmed") == 1, "the removal waits for a second reading")
        self.assertTrue(self.denied(SECOND))
        self.reaches(1)

    def test_missing_is_not_empty(self):
        self.start()
        self.redis.cli("SADD", "blocklist:bad", *hosts(50))
        self.reaches(50)
        self.redis.cli("FLUSHALL", user="admin")
        self.says(lambda s: s.get("state") == "missing", "the key is missing")
        self.redis.cli("PUBLISH", "blocklist:bad:changes", "-" + hosts(1)[0])
        self.assertEqual(self.part()["state"], "warning")
        held = lab.wait_for(lambda: self.lab.stanch_json("held")["held"], "it is held")
        self.assertEqual((held[0]["source"], held[0]["claims"]), ("list:bad", 50))
        self.assertEqual(self.state()["members"], 50)
        # What comes back is read; a smaller list than the brake allows is not.
        self.redis.cli("SADD", "blocklist:bad", *hosts(50))
        self.says(lambda s: s.get("state") == "good", "the key is back")
        self.assertEqual(self.lab.stanch_json("held")["held"], [])
        # An operator accepts that it is empty.
        self.redis.cli("DEL", "blocklist:bad")
        held = lab.wait_for(lambda: self.lab.stanch_json("held")["held"], "it is held again")
        done = self.lab.stanch("held", "approve", str(held[0]["id"]), "--reason", "retired feed")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.reaches(0)

    def test_brake_on_shrink(self):
        self.start()
        self.redis.many("SADD", "blocklist:bad", hosts(1000))
        self.meta(1000)
        self.reaches(1000)
        self.redis.many("SREM", "blocklist:bad", hosts(500))
        self.meta(500, "2")
        self.says(lambda s: s.get("held_removals") == 500, "the shrink is held")
        self.assertEqual(self.state()["members"], 1000)
        held = lab.wait_for(lambda: self.lab.stanch_json("held")["held"], "a held change")
        self.assertIn("shrink", held[0]["why"])
        self.assertEqual(self.lab.stanch("held", "approve", str(held[0]["id"]), "--reason", "ok").returncode, 0)
        self.reaches(500)
        self.assertEqual(self.lab.stanch_json("held")["held"], [])

    def test_restarts(self):
        self.start()
        self.redis.many("SADD", "blocklist:bad", hosts(20000))
        self.meta(20000)
        self.reaches(20000)
        self.redis.end(signal.SIGKILL)
        self.says(lambda s: s.get("state") == "not connected", "Redis is down")
        self.assertTrue(self.denied("198.18.0.7"))
        self.lab.end(self.control)
        self.control = self.lab.start_control()
        self.assertEqual(self.state()["members"], 20000)
        self.redis.start()
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.meta(20001, "2")
        self.reaches(20001)

    def test_killed_in_the_middle_of_a_comparison(self):
        self.start({"bad": ", refresh_s: 1, max_members: 500000"})
        self.redis.many("SADD", "blocklist:bad", hosts(65000))
        self.meta(65000)
        for _ in range(4):
            lab.wait_for(lambda: self.state().get("members", 0) > 1000, "some members are in force")
            self.lab.end(self.control, signal.SIGKILL)
            os.unlink(self.lab.path("run", "control.sock"))
            before = self.state_on_disk()
            self.control = self.lab.start_control()
            revision = self.lab.stanch_json("status")["revision"]
            self.assertGreaterEqual(int(revision.split(".")[1]), before)
        self.reaches(65000)
        self.assertNotIn("lists.db is not as the ledger left it", self.lab.log("control"))

    def state_on_disk(self):
        with open(self.lab.path("list", "deny.rules"), encoding="ascii") as f:
            return int(re.search(r"revision=\d+\.(\d+)", f.readline()).group(1))

    def record(self, member, *more, op="add"):
        return self.redis.cli("XADD", "blocklist:bad", *more, "op", op, "indicator", member)

    def test_stream_trimmed_unseen(self):
        self.start()
        for member in hosts(5):
            self.record(member, "MAXLEN", 2, "*")  # trimmed while each is seen: no alarm
            self.says(lambda s, m=member: self.denied(m), f"{member} is denied")
        self.says(lambda s: s.get("age") == 0, "it was looked at since")
        self.assertEqual(self.state()["why"], "")
        self.lab.end(self.control)
        for member in hosts(3, 10):
            self.record(member, "*")
        self.control = self.lab.start_control()  # the same, not trimmed beyond
        self.reaches(8)
        self.assertEqual(self.state()["why"], "")
        self.lab.end(self.control)
        self.record(hosts(1)[0], "*", op="remove")
        self.record(FIRST, "*")
        self.redis.cli("XTRIM", "blocklist:bad", "MAXLEN", 1)
        self.control = self.lab.start_control()
        self.says(lambda s: "records are missing in the stream" in s.get("why", ""), "it is an alarm")
        self.reaches(9)
        self.assertTrue(self.denied(hosts(1)[0]))
        self.assertEqual((self.part()["state"], self.state()["state"]), ("warning", "failing"))
        # A restart does not settle it, an operator does.
        self.lab.end(self.control)
        self.control = self.lab.start_control()
        self.says(lambda s: "records are missing in the stream" in s.get("why", ""), "it is an alarm still")
        self.read()
        self.says(lambda s: s.get("why") == "" and s.get("age", 9) < 2, "it is settled")
        self.record(hosts(1)[0], "*", op="remove")
        self.reaches(8)

    def test_stream_made_anew(self):
        self.start()
        self.record(FIRST, "*")
        self.record(SECOND, "*")
        self.reaches(2)
        self.redis.cli(text="MULTI\nDEL blocklist:bad\nXADD blocklist:bad 1-1 op add indicator " + THIRD + "\nEXEC\n")
        self.says(lambda s: "records are missing in the stream" in s.get("why", ""), "it is an alarm")
        self.reaches(3)
        self.assertIn("the stream was made anew", self.lab.log("control"))
        self.record(THIRD, "*", op="remove")
        self.reaches(2)

    def test_stream_record_deleted_unseen(self):
        self.start()
        self.record(FIRST, "*")
        self.reaches(1)
        self.lab.end(self.control)
        gone = self.record(SECOND, "*").strip()
        self.record(THIRD, "*")
        self.redis.cli("XDEL", "blocklist:bad", gone, user="admin")
        self.control = self.lab.start_control()
        self.says(lambda s: "records are missing in the stream" in s.get("why", ""), "it is an alarm")
        self.assertIn("records were deleted unseen", self.lab.log("control"))

    def test_keyspace_notifications(self):
        self.start({"bad": ", refresh_s: 3600, keyspace: true", "deaf": ", refresh_s: 3600"},
                   **{"notify-keyspace-events": "Kshz$g"})
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.redis.cli("SADD", "blocklist:deaf", FIRST)
        for name in ("bad", "deaf"):
            self.read(name)
            self.reaches(1, name)
        self.redis.cli("SADD", "blocklist:deaf", SECOND)
        self.redis.cli("SADD", "blocklist:bad", SECOND)
        self.reaches(2)  # nobody published a word
        self.redis.cli("SREM", "blocklist:bad", FIRST)
        self.reaches(1)
        self.assertTrue(self.denied(SECOND))
        self.assertGreater(self.state()["hints"], 1)
        self.assertEqual((self.state("deaf")["members"], self.state("deaf")["hints"]), (1, 0))

    def test_what_many_share(self):
        self.start()
        self.redis.cli("SADD", "blocklist:bad", FIRST, "198.51.100.0/24")
        self.reaches(2)
        with open(self.lab.path("shared.txt"), "w", encoding="ascii") as f:
            f.write("198.51.0.0/16\n203.0.113.0/24\n")
        self.lab.configure(self.lab.control_section(extra=f"  cautions: [{self.lab.path('shared.txt')}]\n" + self.section))
        self.control.send_signal(signal.SIGHUP)
        self.says(lambda s: s.get("protected") == 1 and s.get("members") == 1, "the network is refused, the host is not")
        self.assertIn("198.51.100.0/24: wider than a host, and meets 198.51.0.0/16", self.state()["samples"][0])
        self.assertTrue(self.denied(FIRST))
        self.assertFalse(self.denied("198.51.100.0/24"))

    def test_ttl_of_a_list(self):
        self.start({"bad": ", refresh_s: 1, ttl: 8s", "keeps": ", refresh_s: 1"})
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.redis.cli("SADD", "blocklist:keeps", SECOND)
        self.reaches(1)
        self.reaches(1, "keeps")

        def end():
            return next(c for c in self.why(FIRST)["claims"] if c["source"] == "list:bad")["until"]

        first = end()
        lab.wait_for(lambda: end() > first, "a reading that shows it extends it", 20)
        self.redis.end(signal.SIGKILL)
        self.says(lambda s: s.get("members") == 0, "it ends by itself", seconds=30)
        self.assertFalse(self.denied(FIRST))
        self.assertTrue(self.denied(SECOND))
        self.redis.start()
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.reaches(1)

    def test_eviction_is_warned_of(self):
        self.start(**{"maxmemory-policy": "allkeys-lru"})
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.reaches(1)
        part = self.part()
        self.assertIn("noeviction", part["why"])

    def test_source_gone_and_retired(self):
        self.start()
        self.redis.cli("SADD", "blocklist:bad", FIRST, SECOND)
        self.reaches(2)
        self.assertEqual(self.lab.stanch("source", "retire", "list:bad", "--reason", "no").returncode, 1)
        self.lab.configure(self.lab.control_section())
        self.control.send_signal(signal.SIGHUP)
        self.says(lambda s: s.get("state") == "source gone", "it is shown as gone")
        self.assertTrue(self.why(FIRST)["claims"][0]["source_gone"])
        self.assertEqual(self.lab.stanch("source", "retire", "list:bad", "--reason", "ended").returncode, 0)
        self.assertFalse(self.denied(FIRST))
        self.assertEqual(self.lists(), {})

    def test_wrong_password(self):
        self.start()
        self.lab.secret("redis.password", "nonsense")
        self.control.send_signal(signal.SIGHUP)
        self.says(lambda s: "WRONGPASS" in s.get("why", ""), "it is refused")
        self.lab.secret("redis.password", "change-me-stanch")
        self.control.send_signal(signal.SIGHUP)
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.reaches(1)


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")
class Wire(Listed, unittest.TestCase):
    def test_published_and_dropped(self):
        home = lab.Lab()
        home.__enter__()
        self.begin({"bad": ", refresh_s: 1"}, home)
        home.start_dataplane()
        self.control = home.start_control()
        lab.wait_for(lambda: home.arrives(FIRST), "a packet crosses the wire", 20)
        self.redis.cli("SADD", "blocklist:bad", *hosts(100))
        self.reaches(100)
        self.redis.cli("SADD", "blocklist:bad", FIRST)
        self.redis.cli("PUBLISH", "blocklist:bad:changes", "+" + FIRST)
        self.reaches(101)
        lab.wait_for(lambda: home.stanch_json("status")["dataplane"]["equal"], "the data plane has it")
        self.assertFalse(home.arrives(FIRST))
        self.assertTrue(home.arrives(SECOND))
        self.redis.cli("SREM", "blocklist:bad", FIRST)
        self.redis.cli("PUBLISH", "blocklist:bad:changes", "-" + FIRST)
        self.reaches(100)
        lab.wait_for(lambda: home.arrives(FIRST), "it is reached again")


if __name__ == "__main__":
    unittest.main()
