# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Alerts become cases: the hook, what waits, TheHive's stand-in with its faults, and restarts.

The build directory is $STANCH_BUILD, or build/ at the root.
"""

import http.client
import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import test_thehive  # noqa: E402
from test_thehive import CONTROL, PATIENCE_S, wait_for  # noqa: E402

AIP = {"created_at": "1459447024000", "id": "56fd65138c1e0c173af5a3de", "severity": "3", "source": "Host",
       "organization_id": "545d0293b620cd090d000023", "server_or_region": "Threat_Stack_Demo_Ubuntu1",
       "title": "Threat Intelligence Activity: Communication to openbl by 185.110.132.54"}
POSTED = ("POST /api/(v1/)?alert$", "POST /api/v1/alert/[^/]+/case", "POST /api/(v1/)?alert/[^/]+/merge")


class Lab(test_thehive.Lab):
    """With the sources siem (its own word) and aip (none: any other hook token that is no TheHive's)."""
    more = "    promote: [edr]\n    promote_s: 1\n"

    def configure(self, section=True, **thehive):
        path = super().configure(section, **thehive)
        self.write("siem", "siem-word")
        with open(path, "a", encoding="ascii") as out:
            out.write(f"""  alerts:
    thehive: soc
    sources:
      - {{name: siem, token_file: {self.dir}/siem, tags: [from-siem], per_minute: 300}}
      - {{name: aip}}
{self.more}""")
        return path

    def send(self, body, name="", word="siem-word"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            text = body if isinstance(body, (str, bytes)) else json.dumps(body)
            connection.request("POST", "/v1/hooks/alerts" + name, text,
                               {"Authorization": f"Bearer {word}"} if word else {})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def alerts(self):
        return next(s for s in self.status()["sources"] if s["name"] == "alerts")

    def counts(self):
        return self.alerts()["alerts"]

    def state(self):
        return self.hive.call("GET", "/_peer/state")

    def cases(self):
        return self.state()["cases"]

    def idle(self, n=None):
        """All that was taken is done; n: so many cases are there."""
        wait_for("all alerts to be done", lambda: self.counts()["pending"] == 0)
        if n is not None:
            self.check_cases(n)

    def check_cases(self, n):
        found = self.cases()
        if len(found) != n:
            raise AssertionError(f"{len(found)} cases, not {n}: {[c['title'] for c in found]}")

    def observables(self, case):
        return {o["data"]: o for o in self.state()["observables"] if o["_case"] == case["_id"]}


def alert(ref="r-1", title="Upload to a new host", **more):
    return {"title": title, "sourceRef": ref} | more


IP = {"type": "ip", "data": "203.0.113.7", "ioc": True, "message": "destination", "tags": ["dst"]}


def both(test):
    def run(self):
        for version in (4, 5):
            with self.subTest(version=version):
                test(self, self.lab(version))
                self.end()
    run.__name__ = test.__name__
    return run


@unittest.skipUnless(os.path.exists(CONTROL), f"{CONTROL} is not built")
class Alerts(unittest.TestCase):
    def setUp(self):
        self.labs = []

    def tearDown(self):
        self.end()

    def end(self):
        while self.labs:
            self.labs.pop().end()

    def lab(self, version, more=None, **thehive):
        made = Lab.__new__(Lab)
        made.more = Lab.more if more is None else more
        made.__init__(version, **thehive)
        self.labs.append(made)
        return made

    @both
    def test_an_alert_becomes_a_case(self, lab):
        status, told = lab.send(alert(
            severity="high", tlp="RED", pap="GREEN", tags=["exfil"], description="Look at *this*.",
            link="https://siem.example/1", observables=[IP, {"type": "domain", "data": "evil.example"}],
            events=[{"dst_ip": "203.0.113.7", "n": i} for i in range(103)]))
        self.assertEqual((status, told), (200, {"taken": 1, "duplicates": 0}))
        lab.idle(1)
        case, = lab.cases()
        self.assertEqual((case["title"], case["severity"], case["pap"]), ("Upload to a new host", 3, 1))
        self.assertEqual(case["tlp"], 3 if lab.hive.version == 4 else 4)
        self.assertEqual(set(case["tags"]), {"exfil", "from-siem"})
        self.assertIn("Look at *this*.", case["description"])
        self.assertIn("Contributing events: 103", case["description"])
        self.assertIn("3 more are left out", case["description"])
        found = lab.observables(case)
        self.assertEqual(set(found), {"203.0.113.7", "evil.example"})
        self.assertTrue(found["203.0.113.7"]["ioc"])
        self.assertEqual(found["203.0.113.7"]["tags"], ["dst"])
        self.assertFalse(found["evil.example"]["ioc"])
        self.assertFalse(lab.claims(), "an alert denies nothing by itself")
        record, = lab.audit("alert")
        self.assertEqual((record["actor"], record["object"]), ("alerts:siem", f"case {case['number']}"))
        # The whole of the first flow: an analyst's verdict on that case denies.
        lab.hive.patch(case["_id"], **({"tags": case["tags"] + ["stanch:enforce"]}))
        lab.hive.observable_patch(found["203.0.113.7"]["_id"], **({"tlp": 2}))
        lab.hive.close(case["_id"], key="alice-key")
        lab.wait_live("203.0.113.7")

    @both
    def test_the_same_alert_again_does_nothing(self, lab):
        sent = alert(observables=[IP])
        self.assertEqual(lab.send(sent)[1], {"taken": 1, "duplicates": 0})
        self.assertEqual(lab.send(sent)[1], {"taken": 0, "duplicates": 1})
        lab.idle(1)
        self.assertEqual(lab.send(sent)[1], {"taken": 0, "duplicates": 1})
        lab.stop(kill=True)
        lab.start()
        self.assertEqual(lab.send(sent)[1], {"taken": 0, "duplicates": 1})
        self.assertEqual(len(lab.state()["alerts"]), 1)

    @both
    def test_alerts_of_one_origin_join_the_open_case(self, lab):
        lab.send(alert("r-1", observables=[IP]))
        other = IP | {"data": "203.0.113.8"}
        lab.send({"alerts": [alert("r-2", observables=[IP, other], events=[{"seen": "twice"}]),
                             alert("r-3", title="Another matter"),
                             alert("r-4", title="Named otherwise", origin="Upload to a new host")]})
        lab.idle(2)
        first, second = lab.cases()
        self.assertEqual(set(lab.observables(first)), {"203.0.113.7", "203.0.113.8"})
        self.assertEqual(second["title"], "Another matter")
        told = first["description"] if lab.hive.version == 4 else "".join(
            c["message"] for c in lab.hive.comments())
        self.assertIn('"seen": "twice"', told)
        counts = lab.counts()
        self.assertEqual((counts["opened"], counts["joined"]), (2, 2))
        # Once it is closed, the next alert of that origin opens another.
        lab.hive.close(first["_id"])
        lab.send(alert("r-5"))
        lab.idle(3)
        lab.send(alert("r-6"))
        lab.idle(3)

    @both
    def test_an_alert_that_changed_joins_while_its_case_is_open(self, lab):
        lab.send(alert(observables=[IP]))
        lab.idle(1)
        lab.send(alert(observables=[IP, IP | {"data": "203.0.113.9"}]))
        lab.idle(1)
        case, = lab.cases()
        self.assertEqual(set(lab.observables(case)), {"203.0.113.7", "203.0.113.9"})
        lab.hive.close(case["_id"])
        lab.send(alert(observables=[IP, IP | {"data": "203.0.113.10"}]))
        lab.idle(1)
        self.assertEqual(lab.counts()["after_close"], 1)
        self.assertEqual(len(lab.observables(lab.cases()[0])), 2)

    @both
    def test_lost_answers_double_nothing(self, lab):
        lab.hive.set(index_delay_ms=1000)
        first = True
        for i, path in enumerate(POSTED):
            for how in ("truncated", "500", "close", "lost", "html"):
                n_before = len(lab.cases())
                lab.hive.fail(how, path=path)
                ref = f"{i}-{how}"
                lab.send(alert(ref, title="One origin" if i == 2 else ref, observables=[IP]))
                lab.idle()
                joins = i == 2 and not first
                lab.check_cases(n_before + (0 if joins else 1))
                first = first and i != 2
                lab.hive.heal()
        refs = [a["sourceRef"] for a in lab.state()["alerts"]]
        self.assertEqual(len(refs), len(set(refs)))
        self.assertTrue(all(a["caseId"] for a in lab.state()["alerts"]))
        if lab.hive.version == 5:  # a comment each, none twice
            told = [re.match(r"stanch: alert (\S+) ", c["message"])[1] for c in lab.hive.comments()]
            self.assertEqual(len(told), len(set(told)))
            self.assertEqual(len(told), 4)

    @both
    def test_what_waits_outlives_a_kill_and_an_outage(self, lab):
        lab.hive.fail("500", n=100000, user="stanch@soc")
        for i in range(20):
            self.assertEqual(lab.send(alert(f"r-{i}", title=f"t-{i}", observables=[IP]))[0], 200)
        lab.stop(kill=True)
        lab.hive.heal()
        lab.start()
        lab.idle(20)
        self.assertEqual(sorted(c["title"] for c in lab.cases()), sorted(f"t-{i}" for i in range(20)))

    def test_killed_in_the_middle(self):
        lab = self.lab(5)
        lab.hive.set(index_delay_ms=300)
        for turn in range(6):
            # Each request of TheHive's takes its time, so that the kill meets one.
            lab.hive.fail("slow", n=1000, path="alert|comment", ms=120)
            for i in range(3):
                lab.send(alert(f"{turn}-{i}", title=f"{turn}", observables=[IP]))
            seen = len(lab.hive.requests())
            wait_for("some requests", lambda: len(lab.hive.requests()) >= seen + turn)
            lab.stop(kill=True)
            lab.hive.heal()
            lab.start()
            lab.idle(turn + 1)
        self.assertEqual(len(lab.state()["alerts"]), 18)
        told = [c["message"].split("\n")[0] for c in lab.hive.comments()]
        self.assertEqual(len(told), len(set(told)))

    @both
    def test_f5_aip(self, lab):
        self.assertEqual(lab.send(AIP, "/aip", "hook-word")[0], 403)  # TheHive's word
        call = lambda body: lab.call("POST", "/v1/hooks/alerts/aip", body)
        self.assertEqual(call(AIP)["taken"], 1)
        self.assertEqual(call({"alerts": [
            AIP | {"id": "2", "title": "Outbound connection seen", "severity": 1},
            {"id": "3", "title": "Netcat Detected!", "created_at": 1391179102237, "severity": 1, "agent_id": "a"},
            {"id": "4", "title": "Connect: 10.0.0.5 to 198.51.100.9:443", "createdAt": "2020-01-01T00:00:00Z",
             "severity": 2, "agentId": "b"},
            {"id": "5", "title": "Exfiltration", "severity": 1, "agentId": "b", "events": [
                {"event_type": "connect", "dst_ip": "203.0.113.9", "dst_port": 443, "exe": "/usr/bin/curl"},
                {"event_type": "accept", "dst_ip": "203.0.113.66"}]}]})["taken"], 4)
        lab.idle(5)
        by_title = {c["title"]: c for c in lab.cases()}
        found = lambda title: set(lab.observables(by_title[title]))
        self.assertEqual(found(AIP["title"]), {"185.110.132.54"})
        self.assertEqual(by_title[AIP["title"]]["severity"], 1)
        self.assertEqual(found("Outbound connection seen"), set())
        self.assertEqual(by_title["Outbound connection seen"]["severity"], 3)
        self.assertIn("No destination", by_title["Netcat Detected!"]["description"])
        self.assertEqual(found("Connect: 10.0.0.5 to 198.51.100.9:443"), {"198.51.100.9"})
        self.assertEqual(found("Exfiltration"), {"203.0.113.9"})
        self.assertIn("/usr/bin/curl", by_title["Exfiltration"]["description"])

    @both
    def test_alerts_that_lie_in_thehive(self, lab):
        def create(ref, source="edr", title="Beacon"):
            kind = "artifacts" if lab.hive.version == 4 else "observables"
            return lab.hive.call("POST", "/api/alert" if lab.hive.version == 4 else "/api/v1/alert", {
                "type": "edr", "source": source, "sourceRef": ref, "title": title, "description": "d",
                kind: [{"dataType": "ip", "data": f"203.0.113.{len(ref)}", "ioc": True}]})["_id"]
        create("a", source="somebody")
        touched = create("b", title="Seen by an analyst")
        if lab.hive.version == 4:
            lab.hive.call("POST", f"/api/alert/{touched}/markAsRead")
        else:
            lab.hive.patch_alert(touched, stage="Closed", status="Ignored")
        create("aaa")
        wait_for("a case", lab.cases)
        create("aaaa")
        wait_for("the next to join it", lambda: len(lab.observables(lab.cases()[0])) == 2)
        lab.check_cases(1)
        lab.stop(kill=True)
        lab.start()
        create("aaaaa")
        wait_for("the next to join it", lambda: len(lab.observables(lab.cases()[0])) == 3)
        lab.check_cases(1)

    def test_what_is_refused(self):
        lab = self.lab(5)
        for body, text in (
                ("[1]", "object"), ("{", "body:1:1"), (alert(severity=9), "severity: low"),
                (alert(tlp=3), "tlp: CLEAR"), (alert(tags=["stanch:enforce"]), "tags[0]: tags that begin"),
                (alert(observables=[IP | {"tags": ["Stanch:none"]}]), "observables[0].tags[0]"),
                (alert(observables=[IP] * 501), "further alerts of the same origin"),
                (alert(customFields={}), "customFields: is not known"), (alert(source="edr"), "source: the token"),
                ({"title": "x"}, "sourceRef: is missing"), ({"alerts": [alert(), {}]}, "alerts[1].sourceRef"),
                (alert("x" * 101), "sourceRef: at most 100"), (alert(observables=[{"type": "ip"}]), "observables[0]"),
                ({"id": "1", "title": "t", "severity": 4}, "severity: 1 to 3")):
            status, told = lab.send(body)
            self.assertEqual(status, 400, (body, told))
            self.assertIn(text, told["error"])
        self.assertEqual(lab.send(alert(), word=None)[0], 401)
        self.assertEqual(lab.send(alert(), "/aip")[0], 403)
        self.assertEqual(lab.send(alert(), "/none")[0], 403)
        self.assertEqual(lab.send(alert(description="x" * (1 << 20)))[0], 413)
        self.assertEqual(lab.call("POST", "/v1/hooks/alerts", alert())["error"], "no such source of alerts")
        self.assertEqual(lab.send({"alerts": [alert(str(i), title=str(i)) for i in range(100)]})[0], 200)
        self.assertEqual(lab.send({"alerts": [alert(f"b{i}") for i in range(100)]})[0], 200)
        self.assertEqual(lab.send({"alerts": [alert(f"c{i}") for i in range(100)]})[0], 200)
        status, told = lab.send({"alerts": [alert(f"d{i}") for i in range(100)]})
        self.assertEqual(status, 429)
        self.assertIn("per_minute", told["remedy"])
        self.assertEqual(lab.counts()["limited"], 1)
        self.assertGreaterEqual(lab.counts()["bad"], 14)
        self.assertIn("stanch_alerts_total{what=\"limited\"} 1", lab.call("GET", "/metrics"))

    def test_no_more_wait_than_may(self):
        lab = self.lab(5, more="    max_pending: 3\n")
        lab.hive.fail("500", n=100000, user="stanch@soc")
        self.assertEqual(lab.send({"alerts": [alert(str(i)) for i in range(2)]})[0], 200)
        status, told = lab.send({"alerts": [alert(str(i)) for i in range(5)]})
        self.assertEqual(status, 503)
        self.assertIn("max_pending", told["remedy"])
        wait_for("the trouble to show", lambda: lab.alerts()["state"] == "down")
        lab.hive.heal()
        lab.idle()
        self.assertEqual(lab.send({"alerts": [alert(str(i)) for i in range(5)]})[1],
                         {"taken": 2, "duplicates": 3})
        lab.idle(1)

    def test_what_thehive_refuses(self):
        lab = self.lab(5)
        lab.send(alert("odd", observables=[{"type": "mail_subject", "data": "hi"}, IP]))
        lab.idle(1)
        case, = lab.cases()
        self.assertEqual(lab.observables(case), {})
        self.assertIn("mail_subject: hi\nip: 203.0.113.7", case["description"])
        lab.hive.fail("400", n=1, path="POST /api/v1/alert$")
        lab.send(alert("never", title="never"))
        wait_for("a refusal", lambda: lab.counts()["refused"] == 1)
        told, = lab.alerts()["refused"]
        self.assertEqual((told["alert"], told["source"]), ("never", "siem"))
        lab.idle(1)
        self.assertEqual(lab.send(alert("never", title="never"))[1]["taken"], 1)  # now it takes it
        lab.idle(2)

    def test_reload(self):
        lab = self.lab(5)
        lab.send(alert())
        lab.idle(1)
        lab.more = "    max_pending: 2\n"
        lab.reload()
        wait_for("the reload", lambda: "read again" in lab.logged())
        lab.send(alert("r-2"))
        lab.idle(1)
        self.assertEqual(lab.counts()["joined"], 1)


if __name__ == "__main__":
    unittest.main()
