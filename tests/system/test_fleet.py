# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Three gateways, one list: what is decided anywhere is enforced everywhere, through a real Redis with the recommended
rights. Each gateway has a stanch-control, the data plane's end of the link, and a connection to Redis that tests cut."""

import http.client
import json
import signal
import time
import unittest

import lab
from f5xc_client import F5XC
from fleet_case import Fleet
from redis_peer import AVAILABLE
from thehive_client import TheHive

A, B, C = "203.0.113.7", "203.0.113.8", "198.51.100.9"
KEY = "gateway-key"


class Case(unittest.TestCase):
    """gw-a is to lead, where it can; gw-b may; gw-c never does."""

    def begin(self, hive=None, f5=None, extra="", start=True, **more):
        self.fleet = fleet = Fleet(start=False)
        self.addCleanup(fleet.close)
        fleet["gw-a"].role, fleet["gw-c"].role = "leader", "follower"
        for gateway in fleet.gateways:
            gateway.listen, gateway.f5 = f"127.0.0.1:{lab.free_port()}", f5
            gateway.extra = extra.replace("WORD", gateway.home.secret("siem", "siem-word"))
            if hive:
                gateway.hive = {"url": hive.url, "key": KEY, "hook": "hook-word", "more": {
                    "index_delay_ms": 200, "max_per_second": 200, "incremental_s": 3600, "full_s": 3600,
                    "writeback": "{delay_ms: 1500, max_per_second: 200, attempts_s: 1}"} | more}
        if start:
            fleet["gw-a"].start()
            fleet.leader()
            fleet["gw-b"].start()
            fleet["gw-c"].start()
            fleet.equal()
        return fleet

    def hive(self, **options):
        hive = TheHive(version=5, more_user=[f"stanch@soc:{KEY}", "alice@soc:alice-key"], **options)
        self.addCleanup(hive.stop)
        return hive

    def post(self, gateway, path, body, word="hook-word"):
        connection = http.client.HTTPConnection(gateway.listen, timeout=20)
        try:
            connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {word}"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def listed(self, gateway):
        """A first listing of TheHive's cases is done there."""
        self.fleet.reaches(lambda: (gateway.home.stanch_json("status")["sources"] or [{}])[0].get("reconciled"),
                           "a first listing")

    def verdict(self, hive, *data):
        case = hive.case_create("Exfiltration", field="enforce")
        for one in data:
            hive.observable_create(case, one)
        hive.close(case, key="alice-key")
        return case


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Decisions(Case):
    def test_from_any_gateway(self):
        fleet = self.begin()
        fleet["gw-a"].block(A)
        fleet["gw-c"].block(B)
        fleet.enforce({A, B})
        fleet.equal()
        why = fleet["gw-b"].home.stanch_json("why", B)["claims"][0]
        self.assertNotIn("local", why)
        done = fleet["gw-b"].stanch("unblock", A, "--force", "--reason", "a test", "--wait", "0")
        self.assertIn(done.returncode, (0, 2), done.stdout + done.stderr)
        fleet.enforce({B})
        done = fleet["gw-b"].stanch("allow", C, "--reason", "a test", "--for", "1h")
        self.assertEqual(done.returncode, 0, done.stderr)
        fleet.reaches(lambda: all(any(C in str(e) for e in g.plane.exceptions) for g in fleet.gateways), "allowed everywhere")
        fleet.equal()

    def test_pause_here_and_everywhere(self):
        fleet = self.begin()
        one, two = fleet["gw-b"], fleet["gw-c"]
        self.assertEqual(one.stanch("pause", "--reason", "here", "--for", "5m").returncode, 0)
        fleet.reaches(lambda: one.plane.pause_until > 0, "gw-b is paused")
        self.assertEqual(two.plane.pause_until, 0)
        self.assertEqual(one.stanch("resume").returncode, 0)
        fleet.reaches(lambda: one.plane.pause_until == 0, "gw-b enforces again")
        self.assertEqual(two.stanch("pause", "--fleet", "--reason", "a fire", "--for", "5m").returncode, 0)
        fleet.reaches(lambda: all(g.plane.pause_until > 0 for g in fleet.gateways), "all are paused")
        self.assertEqual(one.stanch("resume", "--fleet").returncode, 0)
        fleet.reaches(lambda: all(g.plane.pause_until == 0 for g in fleet.gateways), "all enforce again")

    def test_without_a_leader_it_is_local(self):
        fleet = self.begin()
        one = fleet["gw-c"]
        one.proxy.cut()
        one.block(A)
        fleet.reaches(lambda: one.plane.enforced() == {A}, "in force at once")
        claim = one.home.stanch_json("why", A)["claims"][0]
        self.assertTrue(claim.get("local"), claim)
        self.assertIn("local:", one.stanch("why", A).stdout)
        self.assertIn("1 claims in force here only", one.stanch("status").stdout)
        self.assertEqual(fleet["gw-a"].plane.enforced(), set())
        one.proxy.mend()
        fleet.enforce({A})
        fleet.equal()


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Roles(Case):
    def test_only_the_leader_asks_others(self):
        hive = self.hive()
        fleet = self.begin(hive)
        self.verdict(hive, A)
        self.assertEqual(self.post(fleet["gw-a"], "/v1/hooks/thehive", {"no": "hook"})[0], 400)
        sources = fleet["gw-b"].home.stanch_json("status")["sources"]
        self.assertEqual([s["state"] for s in sources if s["name"] == "thehive"], ["at the leader"])
        self.assertIn("gw-a leads", sources[0]["why"])
        done = fleet["gw-b"].stanch("thehive", "setup")
        self.assertEqual(done.returncode, 1)
        self.assertIn("gw-a leads the fleet", done.stderr)
        self.assertEqual(fleet["gw-b"].stanch("f5").returncode, 1)

    def test_another_leads_and_tells_cases_once(self):
        hive = self.hive()
        fleet = self.begin(hive)
        self.listed(fleet["gw-a"])
        first = self.verdict(hive, A)
        self.hook(fleet["gw-a"], hive, first)
        fleet.enforce({A})
        lab.wait_for(lambda: len(hive.told(first)) == 1, "the case is told", 20)
        fleet.equal()
        fleet["gw-a"].kill()
        self.assertIs(fleet.leader(), fleet["gw-b"])
        self.listed(fleet["gw-b"])
        second = self.verdict(hive, B)
        self.hook(fleet["gw-c"], hive, second)
        fleet.enforce({A, B}, [fleet["gw-b"], fleet["gw-c"]])
        lab.wait_for(lambda: len(hive.told(second)) == 1, "the second case is told", 20)
        self.assertIn("gateways `gw-b, gw-c`", hive.told(second)[0])
        fleet["gw-a"].start()
        fleet.equal()
        self.assertEqual([len(hive.told(c)) for c in (first, second)], [1, 1])

    def hook(self, gateway, hive, case):
        """What TheHive 5 sends when a case is updated."""
        status, body = self.post(gateway, "/v1/hooks/thehive", {
            "_id": "~1", "_type": "Audit", "action": "update", "objectId": case, "objectType": "Case", "rootId": case,
            "requestId": f"r{time.monotonic_ns()}", "details": {}, "object": {"_id": case, "_type": "Case"},
            "context": {"_id": case, "_type": "Case"}})
        self.assertEqual((status, body.get("case")), (200, case))

    def test_a_hook_to_a_follower(self):
        hive = self.hive()
        fleet = self.begin(hive)
        self.listed(fleet["gw-a"])
        case = self.verdict(hive, A)
        self.hook(fleet["gw-c"], hive, case)
        fleet.enforce({A})

    def test_an_alert_to_a_follower(self):
        hive = self.hive()
        fleet = self.begin(hive, extra="  alerts:\n    sources:\n      - {name: siem, token_file: WORD}\n")
        alert = {"type": "exfiltration", "sourceRef": "a-1", "description": "…", "title": "Data leaves", "observables": [
            {"type": "ip", "data": A, "ioc": True}]}
        status, body = self.post(fleet["gw-c"], "/v1/hooks/alerts", alert, "siem-word")
        self.assertEqual((status, body.get("taken")), (200, 1), body)
        lab.wait_for(lambda: len(hive.state()["cases"]) == 1, "the case", 20)
        fleet.reaches(lambda: all(g.status()["asks"] == 0 for g in fleet.gateways), "the ask is settled")
        status, body = self.post(fleet["gw-b"], "/v1/hooks/alerts", alert, "siem-word")
        self.assertEqual(status, 200, body)
        fleet.reaches(lambda: all(g.status()["asks"] == 0 for g in fleet.gateways), "the ask is settled")
        self.assertEqual(len(hive.state()["cases"]), 1)

    def test_denials_of_all_reach_the_case(self):
        hive = self.hive()
        fleet = self.begin(hive)
        self.listed(fleet["gw-a"])
        case = self.verdict(hive, A)
        self.hook(fleet["gw-a"], hive, case)
        fleet.enforce({A})
        lab.wait_for(lambda: len(hive.told(case)) == 1, "the case is told", 20)
        fleet["gw-b"].plane.deny(A, 3, "10.2.2.2")
        fleet["gw-c"].plane.deny(A, 4, "10.3.3.3")

        def told():
            text = (hive.told(case) + ["", ""])[1]
            return all(part in text for part in ("10.2.2.2", "10.3.3.3", "gw-b", "gw-c", "7 packets"))
        try:
            lab.wait_for(told, "both gateways' denials", 30)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {hive.told(case)}") from error


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Watch(Case):
    def test_the_table_and_verify(self):
        fleet = self.begin()
        fleet["gw-a"].block(A)
        fleet.enforce({A})
        fleet.equal()
        done = fleet["gw-c"].stanch("fleet")
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in ("gw-a", "gw-b", "gw-c"):
            self.assertIn(name, done.stdout)
        def rows():
            return {g["gateway"]: g for g in fleet["gw-c"].whole()["gateways"]}
        self.assertTrue(rows()["gw-a"]["leads"])
        fleet.reaches(lambda: [r["extra"]["entries"] for r in rows().values()] == [1, 1, 1], "heartbeats tell entries")
        self.assertIn("fleet       lab: gw-a leads", fleet["gw-b"].stanch("status").stdout)
        # A data plane that has another list than its ledger.
        plane = fleet["gw-b"].plane
        plane.close()
        self.says("gw-b: its data plane has not this list")
        plane.__init__(fleet["gw-b"].home.path("run"), fleet.build)
        lab.wait_for(lambda: fleet["gw-a"].stanch("fleet", "verify").returncode == 0, "it has it again", 20)
        # One that is silent.
        fleet["gw-c"].control.send_signal(signal.SIGSTOP)
        self.says("gw-c: silent for")
        fleet["gw-c"].control.send_signal(signal.SIGCONT)
        lab.wait_for(lambda: fleet["gw-a"].stanch("fleet", "verify").returncode == 0, "it is heard again", 20)

    def says(self, text):
        def there():
            done = self.fleet["gw-a"].stanch("fleet", "verify")
            return done.returncode == 2 and text in done.stdout
        lab.wait_for(there, f"verify says {text}: {self.fleet['gw-a'].stanch('fleet', 'verify').stdout}", 20)

    def test_redis_is_gone(self):
        fleet = self.begin()
        fleet["gw-a"].block(A)
        fleet.enforce({A})
        fleet.redis.end(signal.SIGKILL)
        one = fleet["gw-b"]
        fleet.reaches(lambda: any("fleet:" in w for w in one.home.stanch_json("status")["warnings"]), "an alarm")
        self.assertEqual(one.stanch("fleet", "verify").returncode, 2)
        self.assertEqual(one.plane.enforced(), {A})
        metrics = http.client.HTTPConnection(one.listen, timeout=20)
        metrics.close()
        fleet.redis.start()
        fleet["gw-c"].block(B)
        fleet.enforce({A, B}, seconds=40)
        fleet.equal()


@unittest.skipUnless(AVAILABLE, "redis-server is not installed: scripts/setup")
class Fence(Case):
    def stopped(self, waits):
        """What a stopped leader wrote after it went on, that the other's decision is not in."""
        f5 = F5XC(token="word")
        self.addCleanup(f5.stop)
        fleet = self.begin(f5={"url": f5.url, "token": "word", "more": {
            "min_interval_ms": 50, "reconcile_s": 1, "requests_per_minute": 6000, "request_burst": 100}})
        old = fleet["gw-a"]
        old.block(A)
        lab.wait_for(lambda: f"{A}/32" in str(f5.sets()), "the first prefix stands at F5", 30)
        if waits:
            f5.fail(n=1000, status=500, method="PUT")
            old.block(C)
            fleet.enforce({A, C})
            lab.wait_for(lambda: any(C in json.dumps(r) for r in f5.requests()), "F5 refuses a write", 30)
        old.control.send_signal(signal.SIGSTOP)
        f5.mend()
        fleet.reaches(lambda: fleet["gw-b"].leads(), "gw-b leads", 30)
        fleet["gw-b"].block(B)
        lab.wait_for(lambda: f"{B}/32" in str(f5.sets()), "the second prefix, by the new leader", 30)
        before = [r for r in f5.requests() if r["method"] != "GET"]
        old.control.send_signal(signal.SIGCONT)
        fleet.reaches(lambda: old.status().get("leads") is False, "the old one follows")
        fleet.equal()
        self.assertIn(f"{B}/32", str(f5.sets()))
        after = [r for r in f5.requests() if r["method"] != "GET"][len(before):]
        return [r for r in after if B not in json.dumps(r)]

    def test_a_stopped_leader_writes_nothing_when_it_goes_on(self):
        self.assertEqual(self.stopped(waits=False), [], "written by who leads no longer")

    def test_nor_what_waited_to_be_written(self):
        self.assertEqual(self.stopped(waits=True), [], "written by who leads no longer")
