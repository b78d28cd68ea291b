# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""TheHive's stand-in and stanch-control as processes: what becomes a claim, and what ends one.

The build directory is $STANCH_BUILD, or build/ at the root.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "peers"))

from thehive_client import TheHive  # noqa: E402

BUILD = os.environ.get("STANCH_BUILD", os.path.join(ROOT, "build"))
CONTROL = os.path.join(BUILD, "control", "stanch-control")
PATIENCE_S = 15
PAUSE = threading.Event()  # never set
GATEWAY = "stanch@soc"  # its account in TheHive
NEVER_S = 86400  # a listing that does not come during a test
# Here the source is tested: nothing else talks to TheHive.
NOTHING = "{enforced: false, attempts: false, tags: false, refused: false, expiry: false, withdrawn: false}"


def wait_for(what, condition, patience=PATIENCE_S):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        PAUSE.wait(0.003)
    raise AssertionError(f"never came: {what}")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("stanch", timeout=PATIENCE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.path)


class Lab:
    """One stand-in, one stanch-control."""

    def __init__(self, version, hook_version="1", prefix="", stand_in=(), **thehive):
        self.dir = tempfile.mkdtemp(prefix="stanch-thehive.")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1/hooks/thehive"
        self.hive = TheHive(version=version, webhook_version=hook_version, webhook_url=self.url,
                            webhook_auth="bearer:hook-word", prefix=prefix,
                            more_user=["alice@soc:alice-key", f"{GATEWAY}:gateway-key"],
                            **dict(stand_in))
        self.conf = {"organisation": "soc", "index_delay_ms": 250, "incremental_s": NEVER_S,
                     "full_s": NEVER_S, "writeback": NOTHING, "max_per_second": 200} | thehive
        self.process = self.log = None
        self.write("key", "gateway-key")
        self.write("hook", "hook-word")
        self.start()

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
        os.chmod(path, 0o600)
        return path

    def configure(self, section=True, **thehive):
        self.conf |= thehive
        more = "".join(f"      {k}: {v}\n" for k, v in self.conf.items())
        return self.write("stanch.yaml", f"""control:
  state_dir: {self.dir}/state
  run_dir: {self.dir}/run
  listen: 127.0.0.1:{self.port}
  brakes: {{case_claims_per_minute: 100000}}
""" + (f"""  thehive:
    - name: soc
      url: {self.hive.url}
      key_file: {self.dir}/key
      webhook_token_file: {self.dir}/hook
{more}""" if section else ""))

    def reload(self, section=True, **thehive):
        self.configure(section, **thehive)
        self.process.send_signal(signal.SIGHUP)

    def logged(self):
        with open(os.path.join(self.dir, "log"), encoding="utf-8") as log:
            return log.read()

    def begin(self, **thehive):
        conf = self.configure(**thehive)
        self.log = open(os.path.join(self.dir, "log"), "a", encoding="utf-8")
        self.process = subprocess.Popen([CONTROL, "--config", conf], stderr=self.log)

    def start(self, **thehive):
        self.begin(**thehive)
        wait_for("stanch-control to have listed everything", self.listed)

    def forget(self):
        """It is stopped, and its ledger is lost: what starts then is a fresh gateway."""
        self.stop()
        shutil.rmtree(os.path.join(self.dir, "state"))
        self.hive.requests_forget()

    def asked(self, *names):
        """The gateway's requests, or the queries of these names."""
        return [r for r in self.hive.requests() if r["user"] == GATEWAY
                and (not names or (r["name"] or "").removeprefix("stanch-") in names)]

    def listed(self):
        if self.process.poll() is not None:
            raise AssertionError("stanch-control ended: " + self.logged())
        try:
            return self.source()["reconciled"]
        except (OSError, http.client.HTTPException, IndexError):
            return None

    def stop(self, kill=False):
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait(PATIENCE_S)
        self.log.close()

    def end(self):
        if self.process.poll() is None:
            self.stop(kill=True)
        self.log.close()
        self.hive.stop()
        shutil.rmtree(self.dir)

    def call(self, method, path, body=None):
        connection = UnixConnection(os.path.join(self.dir, "run", "control.sock"))
        try:
            connection.request(method, path, body and json.dumps(body))
            answer = connection.getresponse()
            text = answer.read().decode()
            return json.loads(text) if text.startswith("{") else text
        finally:
            connection.close()

    def post_hook(self, text, word="hook-word", path="/v1/hooks/thehive"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {word}"} if word else {}
        try:
            connection.request("POST", path, text, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def status(self):
        return self.call("GET", "/v1/status")

    def source(self):
        return self.status()["sources"][0]

    def all_claims(self):
        found, after = [], 0
        while True:
            page = self.call("GET", f"/v1/claims?source=thehive:soc&max=1000&after={after}")["claims"]
            if not page:
                return found
            found += page
            after = page[-1]["id"]

    def claims(self):
        """indicator → claim"""
        return {c["indicator"]: c for c in self.all_claims()}

    def audit(self, action):
        return [a for a in self.call("GET", "/v1/audit?max=200")["records"] if a["action"] == action]

    def immune(self, indicator="203.0.113.7"):
        return [e for e in self.call("GET", f"/v1/why/{indicator}")["exceptions"]
                if e["kind"] == "immunity"]

    def live(self, *indicators):
        claims = self.claims()
        return set(claims) == set(indicators) and all(c["state"] == "live" for c in claims.values())

    def wait_live(self, *indicators):
        wait_for(f"live claims {indicators}, not {self.claims()}", lambda: self.live(*indicators))

    def settled(self):
        """All that was hinted has been read, and read again."""
        wait_for("no case to be read", lambda: self.source()["cases"]["pending"] == 0)

    def hive_closed(self, case):
        """When, in seconds since the epoch."""
        return self.hive.call("GET", f"/api/v1/case/{case}")["endDate"] / 1000

    def denied_case(self, data="203.0.113.7", kind="ip", field="enforce", **fields):
        case = self.hive.case_create("Exfiltration", field=field, **fields)
        observable = self.hive.observable_create(case, data, kind)
        self.hive.close(case, key="alice-key")
        return case, observable


def both(test):
    """The test with TheHive 4 and with TheHive 5."""
    def run(self):
        for version in (4, 5):
            with self.subTest(version=version):
                test(self, version)
                self.end()
    run.__name__ = test.__name__
    return run


class HiveCase(unittest.TestCase):
    """Has no tests of its own."""

    def setUp(self):
        self.labs = []
        self.addCleanup(self.end)

    def end(self):
        while self.labs:
            self.labs.pop().end()

    def lab(self, version, hook_version="1", **thehive):
        self.labs.append(Lab(version, hook_version, **thehive))
        return self.labs[-1], self.labs[-1].hive


@unittest.skipUnless(os.path.exists(CONTROL), f"{CONTROL} is not built")
class TheHiveSource(HiveCase):
    def test_closed_and_reopened_in_each_format(self):
        for version in (4, 5):
            for hook_version in ("0", "1"):
                with self.subTest(version=version, hook_version=hook_version):
                    lab, hive = self.lab(version, hook_version)
                    case, _ = lab.denied_case()
                    lab.wait_live("203.0.113.7")
                    claim = lab.claims()["203.0.113.7"]
                    self.assertEqual(claim["author"], "alice@soc")
                    self.assertEqual(claim.get("author_inferred", False), version == 4)
                    self.assertEqual(claim["case"], "1")
                    self.assertIn("Exfiltration", claim["reason"])
                    self.assertTrue(claim["ref"].startswith(f"soc/{case}/"))
                    lab.settled()
                    self.assertEqual(lab.claims()["203.0.113.7"], claim)
                    hive.reopen(case)
                    lab.wait_live()
                    hive.close(case, "FalsePositive")
                    lab.settled()
                    self.assertEqual(lab.claims(), {})
                    self.end()

    @both
    def test_a_removed_observable_ends_by_the_later_reading_only(self, version):
        lab, hive = self.lab(version, index_delay_ms=800)
        case, observable = lab.denied_case()
        hive.observable_create(case, "203.0.113.8")
        lab.wait_live("203.0.113.7", "203.0.113.8")
        lab.settled()
        reads = lab.source()["reads"]
        begun = time.monotonic()
        hive.observable_delete(observable)
        wait_for("the first reading", lambda: lab.source()["reads"] > reads)
        if time.monotonic() - begun < 0.5:
            self.assertTrue(lab.live("203.0.113.7", "203.0.113.8"))
        lab.wait_live("203.0.113.8")
        self.assertGreater(time.monotonic() - begun, 0.75)

    def test_a_reload_takes_effect(self):
        lab, hive = self.lab(5, max_pap="GREEN")
        case, _ = lab.denied_case(pap=2)
        lab.settled()
        self.assertEqual(lab.claims(), {})
        lab.reload(max_pap="AMBER")
        lab.wait_live("203.0.113.7")
        lab.write("key", "wrong")  # the key is read again as well
        lab.reload()
        wait_for("the wrong key shows", lambda: lab.logged().count("all is read again") == 2
                 and not lab.source()["up"])
        self.assertTrue(lab.live("203.0.113.7"))
        os.unlink(os.path.join(lab.dir, "key"))
        lab.reload()
        wait_for("the missing key is told", lambda: "the running configuration stays" in lab.logged())
        lab.write("key", "gateway-key")
        lab.reload()
        wait_for("all is listed", lab.listed)
        hive.reopen(case)
        lab.wait_live()
        hive.close(case)
        lab.wait_live("203.0.113.7")
        lab.reload(section=False)  # removed: its claims stay and are shown
        wait_for("the source is gone", lambda: lab.status()["counts"]["sources_gone"] == 1)
        self.assertEqual(lab.status()["sources"], [])
        self.assertTrue(lab.live("203.0.113.7"))
        self.assertEqual(lab.post_hook("{}"), 401)
        lab.reload()
        wait_for("it is back", lambda: lab.status()["counts"]["sources_gone"] == 0)
        wait_for("all is listed", lab.listed)
        hive.reopen(case)
        lab.wait_live()

    @both
    def test_what_is_read_as_no_ioc_ends_at_once(self, version):
        lab, hive = self.lab(version, index_delay_ms=60000)
        _, observable = lab.denied_case()
        lab.wait_live("203.0.113.7")
        hive.observable_patch(observable, ioc=False)
        lab.wait_live()

    @both
    def test_the_response_action_decides(self, version):
        lab, hive = self.lab(version)
        case, _ = lab.denied_case(field=None)
        wait_for("a case without action", lambda: lab.source()["cases"]["no_response_action"] == 1)
        self.assertEqual(lab.claims(), {})
        hive.patch(case, tags=["stanch:monitor:4h"])
        wait_for("a claim", lab.claims)
        claim = lab.claims()["203.0.113.7"]
        self.assertEqual((claim["action"], claim["until"] is None), ("monitor", False))
        # An unknown value is refused: nothing new, and nothing ends.
        hive.patch(case, tags=["stanch:enforc"])
        refused = wait_for("a refusal", lambda: lab.source()["refused"])
        self.assertIn("enforc", refused[0]["why"])
        lab.settled()
        self.assertEqual(set(lab.claims()), {"203.0.113.7"})
        self.assertEqual(len(lab.audit("case.refuse")), 1)
        hive.patch(case, tags=["stanch:none"])
        lab.wait_live()
        wait_for("no refusal", lambda: not lab.source()["refused"])

    @both
    def test_a_deleted_case_ends_a_lost_one_orphans(self, version):
        lab, hive = self.lab(version)
        told, _ = lab.denied_case()
        untold, _ = lab.denied_case("203.0.113.8")
        lab.wait_live("203.0.113.7", "203.0.113.8")
        lab.settled()
        hive.case_delete(told)
        lab.wait_live("203.0.113.8")
        hive.set(hook_lose=-1)
        hive.case_delete(untold)
        lab.stop()
        lab.start()  # lists everything
        claim = wait_for("an orphan", lambda: lab.claims().get("203.0.113.8"))
        self.assertEqual(claim["state"], "orphaned")
        self.assertEqual(lab.status()["counts"]["orphaned"], 1)

    @both
    def test_an_orphan_returns_when_its_case_is_seen_again(self, version):
        lab, hive = self.lab(version, prefix="/soc/hive")
        case, _ = lab.denied_case()
        lab.wait_live("203.0.113.7")
        lab.settled()
        hive.fail("404", n=1000000, path="GET .*/case/", user=GATEWAY)  # as for who may not see it
        hive.patch(case, tags=["x"])
        wait_for("an orphan", lambda: lab.claims()["203.0.113.7"]["state"] == "orphaned")
        lab.settled()
        hive.heal()
        hive.patch(case, tags=["y"])
        lab.wait_live("203.0.113.7")
        self.assertEqual(lab.audit("claim.end"), [])

    def merged(self, lab, hive, told):
        """A case that denies is merged into an open one: its claim is there now, as an orphan."""
        case, _ = lab.denied_case()
        other = hive.case_create("Other")
        lab.wait_live("203.0.113.7")
        lab.settled()
        if not told:
            hive.set(hook_lose=-1)
        new = hive.merge(case, other)
        if not told:
            lab.stop()
            lab.start()
        claim = wait_for("the claim in the new case", lambda: next((
            c for c in lab.claims().values() if c["ref"].startswith(f"soc/{new}/")), None))
        self.assertEqual(claim["state"], "orphaned")
        lab.settled()
        self.assertEqual(list(lab.claims()), ["203.0.113.7"])  # an open case: it stays so
        self.assertEqual(lab.audit("claim.end"), [])
        moved = lab.audit("claim.move")
        self.assertEqual(len(moved), 1, moved)
        self.assertIn(f"merged into {new}", moved[0]["detail"]["cause"])
        hive.set(hook_lose=0)
        return new

    @both
    def test_a_merged_case_takes_the_claims_along(self, version):
        for told in (True, False):  # without a webhook the observable tells where it is
            with self.subTest(told=told):
                lab, hive = self.lab(version)
                hive.set(merge_deletes=version == 5)  # whether 5 tells it so is not known
                new = self.merged(lab, hive, told)
                hive.patch(new, tags=["x"])
                lab.settled()
                self.assertEqual(lab.claims()["203.0.113.7"]["state"], "orphaned")
                hive.close(new)  # a verdict of its own: the action came along
                lab.wait_live("203.0.113.7")
                hive.reopen(new)
                lab.wait_live()
                self.end()

    @both
    def test_a_merged_case_closed_otherwise_ends_them(self, version):
        lab, hive = self.lab(version)
        new = self.merged(lab, hive, told=True)
        hive.close(new, "FalsePositive")
        lab.wait_live()

    @both
    def test_a_large_case_is_written_in_slices(self, version):
        """Nothing is lost between them, also where the gateway dies in the middle."""
        lab, hive = self.lab(version)
        case = hive.case_create("Large", field="enforce")
        all_of_it = {f"198.18.{i // 250}.{i % 250 + 1}" for i in range(1200)}
        hive.observable_create(case, sorted(all_of_it))
        hive.close(case)
        wait_for("all claims", lambda: lab.status()["counts"]["claims"] == 1200)
        lab.settled()
        self.assertEqual(set(lab.claims()), all_of_it)
        hive.reopen(case)
        wait_for("the first slice", lambda: lab.status()["counts"]["claims"] < 1200)
        lab.stop(kill=True)
        lab.start()
        lab.wait_live()
        hive.set(hook_lose=-1)
        hive.close(case)
        lab.stop(kill=True)
        lab.start()
        wait_for("all claims", lambda: lab.status()["counts"]["claims"] == 1200)

    @both
    def test_an_observables_tag_says_otherwise(self, version):
        lab, hive = self.lab(version)
        case, one = lab.denied_case()
        two = hive.observable_create(case, "203.0.113.8")
        lab.wait_live("203.0.113.7", "203.0.113.8")
        hive.observable_patch(one, tags=["stanch:none"])
        lab.wait_live("203.0.113.8")
        hive.observable_patch(two, tags=["stanch:monitor:4h"])
        wait_for("watched only", lambda: lab.claims()["203.0.113.8"]["action"] == "monitor")
        hive.observable_patch(one, tags=[])
        lab.wait_live("203.0.113.7", "203.0.113.8")
        none, three = lab.denied_case("203.0.113.9", field=None)
        lab.settled()
        self.assertTrue(lab.live("203.0.113.7", "203.0.113.8"))
        hive.observable_patch(three, tags=["stanch:enforce"])
        lab.wait_live("203.0.113.7", "203.0.113.8", "203.0.113.9")
        hive.patch(none, tags=["stanch:none"])
        lab.wait_live("203.0.113.7", "203.0.113.8")

    @both
    def test_a_false_positive_makes_immune(self, version):
        lab, hive = self.lab(version)
        case = hive.case_create("Harmless", field="enforce")
        observable = hive.observable_create(case, "203.0.113.7", ioc=False,
                                            tags=["stanch:false-positive"])
        hive.close(case, "FalsePositive", key="alice-key")
        one = wait_for("an immunity", lab.immune)[0]
        self.assertEqual(one["author"], "alice@soc")
        self.assertIn("Harmless", one["reason"])
        lab.settled()
        audit = lab.audit("immunity.put")
        hive.patch(case, tags=["seen"])
        lab.settled()
        self.assertEqual(lab.audit("immunity.put"), audit)  # written once
        hive.observable_patch(observable, tags=[])
        wait_for("none without the tag", lambda: not lab.immune())
        hive.observable_patch(observable, tags=["stanch:false-positive"])
        wait_for("an immunity", lab.immune)
        hive.reopen(case)
        wait_for("none of an open case", lambda: not lab.immune())
        # Whatever no webhook told, a full listing finds.
        hive.set(hook_lose=-1)
        for change, there in ((lambda: hive.close(case, "FalsePositive"), True),
                              (lambda: hive.reopen(case), False),
                              (lambda: hive.close(case, "FalsePositive"), True),
                              (lambda: hive.observable_delete(observable), False)):
            lab.stop()
            change()
            lab.start()
            wait_for(f"immunity {there}", lambda: bool(lab.immune()) == there)

    @both
    def test_a_later_true_positive_ends_an_immunity(self, version):
        lab, hive = self.lab(version)
        case = hive.case_create("Harmless")
        hive.observable_create(case, "203.0.113.7", tags=["stanch:false-positive"])
        hive.close(case, "FalsePositive")
        wait_for("an immunity", lab.immune)
        lab.settled()
        wait_for("a second", lambda: time.time() > lab.hive_closed(case) + 1.1)
        lab.denied_case()
        lab.wait_live("203.0.113.7")
        wait_for("no immunity", lambda: not lab.immune())
        self.assertIn("later true positive", lab.audit("immunity.end")[0]["detail"]["cause"])
        hive.patch(case, tags=["read it again"])
        lab.settled()
        self.assertEqual(lab.immune(), [])

    @both
    def test_reopening_cancels_what_is_held(self, version):
        lab, hive = self.lab(version)
        case, _ = lab.denied_case("https://evil.example/drop", "url")
        wait_for("a held change", lambda: lab.call("GET", "/v1/held")["held"])
        hive.reopen(case)
        wait_for("nothing held", lambda: not lab.call("GET", "/v1/held")["held"])
        self.assertEqual(lab.claims(), {})
        self.assertEqual(lab.status()["counts"]["held"], 0)

    def test_custom_statuses_deny_in_5(self):
        lab, hive = self.lab(5, stand_in={"status": ["Malware:Closed", "Odd:InProgress"]},
                             true_positive="[TruePositive, Malware]")
        case, _ = lab.denied_case()
        lab.wait_live("203.0.113.7")
        hive.patch(case, status="Other")
        lab.wait_live()
        hive.patch(case, status="Malware")
        lab.wait_live("203.0.113.7")
        lab.stop()
        lab.start()
        lab.settled()
        lab.wait_live("203.0.113.7")
        hive.patch(case, status="Odd")
        lab.wait_live()

    @both
    def test_a_promoted_alert_brings_its_observables(self, version):
        """In 4 no event tells of them, and the alert's names the case as its object."""
        lab, hive = self.lab(version)
        observables = [{"dataType": "ip", "data": "203.0.113.7", "ioc": True}]
        alert = hive.call("POST", "/api/alert" if version == 4 else "/api/v1/alert", {
            "type": "aip", "source": "sensor", "sourceRef": "1", "title": "Beacon", "description": "x",
            "artifacts" if version == 4 else "observables": observables})["_id"]
        case = hive.call("POST", f"/api/v1/alert/{alert}/case", {})["_id"]
        hive.patch(case, customFields={"stanch-action": "enforce"})
        hive.close(case)
        lab.wait_live("203.0.113.7")

    @both
    def test_a_restart_catches_up(self, version):
        lab, hive = self.lab(version)
        reopened, _ = lab.denied_case()
        kept, observable = lab.denied_case("203.0.113.9")
        hive.observable_create(kept, "203.0.113.10")
        lab.wait_live("203.0.113.7", "203.0.113.9", "203.0.113.10")
        lab.settled()
        lab.stop(kill=True)
        hive.reopen(reopened)
        hive.observable_delete(observable)
        lab.denied_case("203.0.113.8")
        lab.start()
        lab.wait_live("203.0.113.8", "203.0.113.10")

    @both
    def test_listings_find_what_no_webhook_told(self, version):
        lab, hive = self.lab(version, incremental_s=1)
        hive.set(hook_lose=-1)
        case, _ = lab.denied_case()
        lab.wait_live("203.0.113.7")
        lab.settled()
        hive.observable_create(case, "203.0.113.8")  # in 4 the case does not change by it
        lab.wait_live("203.0.113.7", "203.0.113.8")
        hive.reopen(case)
        lab.wait_live()

    @both
    def test_a_full_listing_finds_a_removed_observable(self, version):
        lab, hive = self.lab(version, incremental_s=1, full_s=1)
        hive.set(hook_lose=-1)
        case, observable = lab.denied_case()
        lab.wait_live("203.0.113.7")
        hive.observable_create(case, "203.0.113.8")
        hive.observable_delete(observable)
        lab.wait_live("203.0.113.8")

    @both
    def test_an_unchanged_judgement_writes_nothing(self, version):
        lab, hive = self.lab(version)
        case, _ = lab.denied_case()
        lab.wait_live("203.0.113.7")
        lab.settled()
        before, reads = lab.status()["revision"], lab.source()["reads"]
        records = lab.call("GET", "/v1/audit?max=1")["records"][0]
        hive.set(hook_double=3)
        for i in range(3):
            hive.patch(case, tags=[f"seen-{i}"])
        wait_for("three readings", lambda: lab.source()["reads"] >= reads + 2)
        lab.settled()
        self.assertEqual(lab.status()["revision"], before)
        self.assertEqual(lab.call("GET", "/v1/audit?max=1")["records"][0], records)

    @both
    def test_no_faulty_answer_ends_anything(self, version):
        lab, hive = self.lab(version, incremental_s=1, full_s=1)
        case, observable = lab.denied_case()
        lab.wait_live("203.0.113.7")
        lab.settled()
        for how in ("empty", "truncated", "half", "html", "401", "500", "close"):
            for path in (".", "query", "GET .*case/"):
                with self.subTest(how=how, path=path):
                    hive.requests_forget()
                    hive.fail(how, n=1000000, path=path, user=GATEWAY)
                    hive.patch(case, tags=[f"{how}"])
                    wait_for("requests", lambda: len(hive.requests()) >= 4)
                    self.assertTrue(lab.live("203.0.113.7"), lab.claims())
                    hive.heal()
                    wait_for("a good answer", lambda: lab.source()["up"])
        lab.settled()
        self.assertTrue(lab.live("203.0.113.7"), lab.claims())
        self.assertEqual(lab.audit("claim.end") + lab.audit("claim.orphan"), [])
        hive.observable_delete(observable)  # and then the real thing
        lab.wait_live()

    @both
    def test_an_empty_list_of_observables_is_not_believed(self, version):
        lab, hive = self.lab(version)
        case, _ = lab.denied_case()
        lab.wait_live("203.0.113.7")
        lab.settled()
        hive.fail("empty", n=1000000, path="query", user=GATEWAY)
        hive.requests_forget()
        hive.patch(case, tags=["x"])
        wait_for("the observable asked for by its id", lambda: any(
            "/observable/" in r["path"] for r in hive.requests()))
        self.assertTrue(lab.live("203.0.113.7"))
        # TheHive not there at all.
        hive.heal()
        hive.fail("hang", n=1000000, user=GATEWAY)
        hive.patch(case, tags=["y"])
        self.assertTrue(lab.live("203.0.113.7"))

    @both
    def test_fresh_observables_that_the_index_lacks_are_found_later(self, version):
        lab, hive = self.lab(version, index_delay_ms=600)
        hive.set(index_delay_ms=400)
        lab.denied_case()
        lab.wait_live("203.0.113.7")

    @both
    def test_refusals_are_seen(self, version):
        lab, hive = self.lab(version)
        case, _ = lab.denied_case("192.168.1.1")
        hive.observable_create(case, "0300.0.0.1")
        hive.observable_create(case, "203.0.113.7")
        lab.wait_live("203.0.113.7")
        lab.settled()
        refused = {r["data"]: r["why"] for r in lab.source()["refused"][0]["refused"]}
        self.assertIn("RFC 1918", refused["192.168.1.1"])
        self.assertIn("octal", refused["0300.0.0.1"])
        self.assertEqual(len(lab.audit("case.refuse")), 1, lab.audit("case.refuse"))
        self.assertEqual(len(lab.audit("claim.refuse")), 1)
        hive.patch(case, pap=3)
        lab.wait_live()
        lab.settled()
        self.assertIn("PAP:RED", json.dumps(lab.source()["refused"]))

    @both
    def test_a_url_with_a_path_is_held(self, version):
        lab, hive = self.lab(version)
        case, _ = lab.denied_case("https://evil.example/drop", "url")
        held = wait_for("a held change", lambda: lab.call("GET", "/v1/held")["held"])
        self.assertEqual(lab.claims()["evil.example"]["state"], "held")
        lab.call("POST", "/v1/held/reject", {"id": held[0]["id"], "reason": "shared host"})
        wait_for("no claim", lambda: not lab.claims())
        hive.patch(case, tags=["again"])
        wait_for("the rejection in the case", lambda: "rejected" in json.dumps(lab.source()["refused"]))
        lab.settled()
        self.assertEqual(lab.claims(), {})
        hive.reopen(case)
        wait_for("no refusal", lambda: not lab.source()["refused"])
        hive.close(case)
        held = wait_for("held again", lambda: lab.call("GET", "/v1/held")["held"])
        lab.call("POST", "/v1/held/approve", {"id": held[0]["id"], "reason": "all of it is bad"})
        lab.wait_live("evil.example")
        hive.patch(case, tags=["more"])
        lab.settled()
        self.assertTrue(lab.live("evil.example"))

    def test_bad_webhooks(self):
        lab, hive = self.lab(5)
        good = json.dumps({"_type": "Audit", "action": "update", "objectType": "Case",
                           "objectId": "~1", "details": {}})
        self.assertEqual(lab.post_hook(good), 200)
        self.assertEqual(lab.post_hook(good), 200)
        self.assertEqual(lab.post_hook(good, path="/v1/hooks/thehive/soc"), 200)
        self.assertEqual(lab.post_hook(good, path="/v1/hooks/thehive/other"), 403)
        self.assertEqual(lab.post_hook(good, word=None), 401)
        self.assertEqual(lab.post_hook(good, word="guess"), 401)
        for bad in ("", "{", "[]", "{}", "null", "\0", '{"operation":"update"}', "[" * 100000):
            self.assertEqual(lab.post_hook(bad), 400, bad[:40])
        big = json.dumps({"description": "x" * (9 * 1024 * 1024)})
        try:
            self.assertEqual(lab.post_hook(big), 413)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent
        self.assertEqual(lab.source()["hooks"], 3)
        self.assertEqual(lab.source()["hooks_malformed"], 8)

    def test_a_thousand_closures_at_once(self):
        lab, hive = self.lab(5)
        cases = []
        for i in range(1000):
            case = hive.case_create(f"Case {i}", field="enforce")
            hive.observable_create(case, f"198.18.{i // 250}.{i % 250 + 1}")
            cases.append(case)
        lab.settled()
        hive.requests_forget()
        hive.call("DELETE", "/_peer/hooks")
        begun = time.monotonic()
        hive.close_all(cases)
        wait_for("1,000 claims", lambda: lab.status()["counts"]["claims"] == 1000, 60)
        took = time.monotonic() - begun
        lab.settled()
        hooks = [h for h in hive.hooks() if h["type"] == "Case"]
        self.assertEqual({h["status"] for h in hooks}, {200})
        times = sorted(h["ms"] for h in hooks)
        print(f"1,000 closures: all claims after {took:.2f} s, webhooks answered after "
              f"{times[500]:.1f} ms (median), {times[990]:.1f} ms (p99)", file=sys.stderr)
        # Four readings a case, and the listings that fall due while it takes.
        self.assertLessEqual(len(hive.requests()), 4 * 1000 + 500)
        # Enforced once each: put, and never written again.
        records, before = [], 0
        while page := lab.call("GET", f"/v1/audit?max=1000&before={before}")["records"]:
            records += page
            before = page[-1]["seq"]
        put = [r["object"].split()[0] for r in records if r["action"] == "claim.put"]
        self.assertEqual((len(put), len(set(put))), (1000, 1000))
        self.assertEqual({r["action"] for r in records} & {"claim.replace", "claim.end"}, set())
        with open(f"/proc/{lab.process.pid}/status", encoding="ascii") as status:
            peak = next(int(x.split()[1]) for x in status if x.startswith("VmHWM"))
        self.assertLess(peak, 200 * 1024, "KiB")


if __name__ == "__main__":
    unittest.main()
