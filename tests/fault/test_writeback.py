# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""What is written to TheHive's cases: once, whatever is lost, refused or restarted in between."""

import os
import random
import re
import signal
import threading
import time
import unittest

import lab
from f5xc_client import F5XC
from thehive_client import TheHive

GATEWAY, KEY = "stanch@soc", "gateway-key"
A, B, C = "203.0.113.7", "203.0.113.8", "198.51.100.9"
OFF = "{enforced: false, attempts: false, tags: false, refused: false, expiry: false, withdrawn: false, " \
    "immunity: false}"
QUICK = "{delay_ms: 300, max_per_second: 200, attempts_s: 1"
PAUSE = threading.Event()  # never set


def both(test):
    """The test with TheHive 4 and with TheHive 5."""
    def run(self):
        for version in (4, 5):
            with self.subTest(version=version):
                self.begin(version)
                try:
                    test(self, version)
                finally:
                    self.finish()
    run.__name__ = test.__name__
    return run


@unittest.skipUnless(os.geteuid() == 0, "needs root for network namespaces")
class Case(unittest.TestCase):
    """One lab with a data plane; each test has a TheHive and a ledger of its own."""

    @classmethod
    def setUpClass(cls):
        cls.lab = lab.Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.lab.__enter__()

    def begin(self, version, writeback="}", f5=None, **more):
        self.f5 = f5
        self.port = lab.free_port()
        self.hive = TheHive(version=version, webhook_url=f"http://127.0.0.1:{self.port}/v1/hooks/thehive",
                            webhook_auth="bearer:hook-word",
                            more_user=[f"{GATEWAY}:{KEY}", "alice@soc:alice-key"])
        self.configure(writeback, **more)
        self.plane = self.lab.start_dataplane()
        self.control = self.lab.start_control()
        lab.wait_for(lambda: self.source().get("reconciled"), "a first listing", 20)

    def configure(self, writeback="}", extra="", **more):
        writeback = writeback if writeback.startswith("{") else QUICK + writeback
        hive = {"url": self.hive.url, "key": KEY, "hook": "hook-word",
                "more": {"index_delay_ms": 200, "max_per_second": 200, "writeback": writeback} | more}
        f5 = self.f5 and {"url": self.f5.url, "token": "word", "more": {"min_interval_ms": 50, "reconcile_s": 1}}
        self.lab.configure(self.lab.control_section(hive=hive, f5=f5, listen=f"127.0.0.1:{self.port}",
                                                    extra=extra))

    def finish(self):
        self.lab.end(self.control)
        self.lab.end(self.plane)
        self.lab.processes.clear()
        self.assertNotIn("Sanitizer", self.lab.log("control"))
        self.hive.stop()
        for folder in ("list", "state", "run"):
            for name in os.listdir(self.lab.path(folder)):
                os.unlink(self.lab.path(folder, name))

    def restart(self, kill=True):
        self.lab.end(self.control, signal.SIGKILL if kill else signal.SIGTERM)
        self.lab.processes.remove(self.control)
        if os.path.exists(self.lab.path("run", "control.sock")):
            os.unlink(self.lab.path("run", "control.sock"))
        self.control = self.lab.start_control()

    def status(self):
        return self.lab.stanch_json("status") or {}

    def source(self):
        return (self.status().get("sources") or [{}])[0]

    def follower(self):
        found = [f for f in self.status().get("followers", []) if f["name"].startswith("write-back")]
        return found[0] if found else {}

    def case(self, *data, field="enforce", close=True, **fields):
        case = self.hive.case_create("Exfiltration", field=field, **fields)
        observables = [self.hive.observable_create(case, d) for d in data]
        if close:
            self.hive.close(case, key="alice-key")
        return case, observables

    def until_told(self, case, *texts, n=None, seconds=20):
        def there():
            told = self.hive.told(case)
            return (n is None or len(told) == n) and all(any(t in m for m in told) for t in texts)
        try:
            lab.wait_for(there, "the case is told", seconds)
        except TimeoutError as error:
            raise AssertionError(f"{texts} in {n} texts, not {self.hive.told(case)}, {self.follower()}") from error
        return self.hive.told(case)

    def settled(self):
        """Nothing is pending, and it stays so over the reading of our own hooks."""
        def quiet():
            return self.follower().get("pending") == 0 and self.source()["cases"]["pending"] == 0
        for _ in range(3):
            lab.wait_for(quiet, f"nothing is pending: {self.follower()}", 20)
            PAUSE.wait(0.15)

    def written(self):
        """Requests that change something, of the gateway."""
        return [r for r in self.hive.requests() if r["user"] == GATEWAY and
                (r["method"] in ("PATCH", "DELETE") or r["method"] == "POST" and "query" not in r["path"])]

    def knock(self, address, n=1):
        """Datagrams from inside to port 9000, which the data plane stops."""
        for _ in range(n):
            self.assertFalse(self.lab.arrives(address, 0.05))


class WriteBack(Case):
    # --- what is told

    @both
    def test_enforced_and_withdrawn(self, version):
        case, _ = self.case(A, B)
        text = self.until_told(case, "2 destinations of this case are denied", n=1)[0]
        for part in (f"`{A}`", f"`{B}`", "entry `", "revision 1.", "after the verdict", os.uname().nodename):
            self.assertIn(part, text)
        took = float(re.search(r"([\d.]+) s after the verdict", text)[1])
        self.assertLess(took, 10)
        self.settled()
        self.assertEqual(len(self.hive.told(case)), 1)
        self.hive.reopen(case)
        text = self.until_told(case, "denied no longer", n=2)[1]
        self.assertIn(A, text)
        self.assertIn("open", text)
        self.settled()
        self.assertEqual(len(self.hive.told(case)), 2)
        self.assertEqual(self.follower()["comments"], 2)

    @both
    def test_tags_keep_those_of_others(self, version):
        case, (one, two) = self.case(A, B, close=False)
        self.hive.observable_patch(one, tags=["from:analyst"])
        self.hive.close(case, key="alice-key")
        self.until_told(case, "denied", n=1)
        lab.wait_for(lambda: self.hive.tags(one) == ["from:analyst", "stanch:enforced"]
                     and self.hive.tags(two) == ["stanch:enforced"], "the tags")
        self.settled()
        claims = self.lab.stanch_json("list")["claims"]
        self.assertEqual(len(claims), 2, "our own tags judge nothing")
        self.hive.reopen(case)
        lab.wait_for(lambda: self.hive.tags(one) == ["from:analyst"] and self.hive.tags(two) == [], "no tags")

    @both
    def test_refusals_name_the_observable(self, version):
        case, (good, protected, wide) = self.case(A, "192.168.1.1", "203.0.0.0/8")
        text = self.until_told(case, "denied", n=1)[0]
        self.assertIn("refused, and not denied", text)
        self.assertIn(f"(observable {protected})", text)
        self.assertIn("RFC 1918", text)
        self.assertIn("203.0.0.0/8", text)
        lab.wait_for(lambda: self.hive.tags(protected) == ["stanch:refused"], "its tag")
        self.settled()
        self.assertEqual(len(self.hive.told(case)), 1)
        self.hive.patch(case, tags=["stanch:enforc"], customFields={"stanch-action": "enforc"}
                        if version == 5 else {"stanch-action": {"string": "enforc"}})
        self.until_told(case, "this case denies nothing new", n=2)

    @both
    def test_allow_and_its_end(self, version):
        case, _ = self.case(A)
        self.until_told(case, "denied", n=1)
        self.lab.stanch("allow", A, "--for", "1h", "--reason", "the bank needs it")
        text = self.until_told(case, "allowed by an operator", n=2)[1]
        self.assertIn("the bank needs it", text)
        self.lab.stanch("allow", A, "--end")
        self.until_told(case, "the allow has ended", n=3)

    @both
    def test_warning_before_the_end(self, version):
        case, _ = self.case(A, field=None, tags=["stanch:enforce:12s"])
        text = self.until_told(case, "denied", n=1)[0]
        self.assertIn(", until 20", text)
        self.until_told(case, "ends soon", n=2)
        self.until_told(case, "denied no longer", n=3)
        self.assertIn("its end has come", self.hive.told(case)[2])
        self.hive.patch(case, tags=["stanch:enforce:12s", "seen"])  # read again, and refused: no news
        lab.wait_for(lambda: self.source()["refused"], "a refusal")
        self.settled()
        self.assertEqual(len(self.hive.told(case)), 3, self.hive.told(case))

    def attempts(self, case):
        return [m for m in self.hive.told(case) if "attempts to reach" in m]

    @both
    def test_attempts_are_one_comment_kept_up_to_date(self, version):
        case, _ = self.case(A)
        self.until_told(case, "denied", n=1)
        self.knock(A)
        text = self.until_told(case, "attempts to reach what this case denies", n=2)[1]
        self.assertIn(f"`{lab.INSIDE} → {A} udp/9000`: 1 packet, at 20", text)
        self.knock(A, 3)
        self.until_told(case, "udp/9000`: 4 packets", n=2)
        self.assertGreaterEqual(self.follower()["updates"], 1)
        self.restart()
        self.knock(A)
        self.until_told(case, "udp/9000`: 5 packets", n=2)
        # Deleted by somebody: the next comes an hour later, not at once.
        state = self.hive.state()["logs" if version == 4 else "comments"]
        ours = next(n for n in state if "attempts to reach" in n["message"])
        self.hive.call("DELETE", f"/api/v1/{'log' if version == 4 else 'comment'}/{ours['_id']}")
        self.knock(A)
        lab.wait_for(lambda: any(r["method"] == "PATCH" and r["status"] == 404 for r in self.hive.requests()),
                     "an update that finds nothing")
        self.settled()
        self.assertEqual(self.attempts(case), [])

    def test_no_attempts_where_they_are_off(self):
        self.begin(5, ", attempts: false}")
        self.addCleanup(self.finish)
        case, _ = self.case(A)
        self.until_told(case, "denied", n=1)
        self.knock(A)
        lab.wait_for(lambda: self.status()["denials"], "the denial is known")
        self.settled()
        self.assertEqual(len(self.hive.told(case)), 1)

    def test_the_state_in_f5_xc(self):
        with F5XC(token="word") as f5:
            self.begin(5, f5=f5)
            self.addCleanup(self.finish)
            case, _ = self.case(A)
            self.assertIn("F5 XC: stored", self.until_told(case, "denied", n=1)[0])

    # --- faults

    @both
    def test_lost_answers(self, version):
        self.hive.fail("lost", n=2, path="POST .*/(comment|log)$", user=GATEWAY)
        case, _ = self.case(A)
        self.until_told(case, "denied")
        self.settled()
        self.assertEqual(len(self.hive.told(case)), 1)
        self.assertGreaterEqual(self.follower()["comments"], 1)

    @both
    def test_errors_delay_and_lose_nothing(self, version):
        for how in ("500", "html", "close", "truncated", "401"):
            with self.subTest(how=how):
                self.hive.heal()
                self.hive.fail(how, n=1, path="POST .*(comment|log|task)$", user=GATEWAY)
                case, _ = self.case(A)
                self.until_told(case, "denied", seconds=40)
                self.settled()
                self.assertEqual(len(self.hive.told(case)), 1)

    @both
    def test_restart_between_write_and_record(self, version):
        case, _ = self.case(C)  # so that the version is known, and the task of 4 in another case
        self.until_told(case, "denied", n=1)
        for moment in ("before", "after"):
            with self.subTest(moment=moment):
                how = {"before": "hang", "after": "lost"}[moment]
                self.hive.requests_forget()
                self.hive.fail(how, n=1, path="POST .*/(comment|log)$", user=GATEWAY)
                case, _ = self.case(A)
                lab.wait_for(lambda: any(re.search("/(comment|log)$", r["path"]) for r in self.hive.requests()),
                             "the comment was sent")
                self.restart()
                self.until_told(case, "denied")
                self.settled()
                self.assertEqual(len(self.hive.told(case)), 1)

    @both
    def test_a_missing_permission_is_named(self, version):
        self.hive.set(deny={GATEWAY: ["manageComment", "manageTask"]})
        case, (one,) = self.case(A)
        name = "manageTask" if version == 4 else "manageComment"
        lab.wait_for(lambda: name in str(self.status().get("warnings")), "the permission is named", 20)
        self.assertEqual(self.follower()["state"], "refused")
        self.assertIn(name, self.lab.stanch("status").stdout)
        # What another permission allows goes on, and so does enforcement.
        lab.wait_for(lambda: self.hive.tags(one) == ["stanch:enforced"], "the tag")
        _, (two,) = self.case(B)  # not behind the one that waits for the permission
        lab.wait_for(lambda: self.hive.tags(two) == ["stanch:enforced"], "the tag of another case")
        self.hive.set(deny={})
        self.lab.processes[-1].send_signal(signal.SIGHUP)  # tried again at once
        self.until_told(case, "denied", n=1)

    @both
    def test_a_case_that_is_gone(self, version):
        self.hive.fail("500", n=4, path="POST .*(comment|log|task)$", user=GATEWAY)
        gone, _ = self.case(A)
        lab.wait_for(lambda: self.follower().get("state") == "failing", "a failure")
        self.hive.case_delete(gone)
        case, _ = self.case(B)
        self.until_told(case, "denied", n=1, seconds=40)
        self.settled()
        self.assertEqual(self.follower()["gone"], 1)

    @both
    def test_a_merged_case_is_told(self, version):
        case, _ = self.case(A)
        self.until_told(case, "denied", n=1)
        self.settled()
        new = self.hive.merge(case, self.hive.case_create("Other"))
        text = self.until_told(new, "kept from a case that is gone")[-1]
        self.assertIn(A, text)
        self.settled()
        self.assertEqual(len(self.hive.told(new)), 2, self.hive.told(new))

    @both
    def test_our_own_hooks_make_no_loop(self, version):
        case, _ = self.case(A, "192.168.1.1")
        self.until_told(case, "denied", n=1)
        self.settled()
        revision, n = self.status()["revision"], len(self.written())
        hooks = self.hive.hooks()
        self.assertTrue(any(h["type"] in ("Comment", "Log") for h in hooks), "our comment raised a hook")
        reads = self.source()["reads"]
        self.hive.patch(case, tags=["seen"])  # and a hook of an analyst
        lab.wait_for(lambda: self.source()["reads"] > reads, "the case is read")
        self.settled()
        self.assertEqual(self.status()["revision"], revision)
        self.assertEqual(len(self.written()), n)
        self.assertEqual(len(self.hive.told(case)), 1)

    @both
    def test_any_faults_any_restarts(self, version):
        """Whatever happens on the way: one text for each case, one task in 4, and every tag."""
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        self.hive.set(index_delay_ms=300)
        self.configure(index_delay_ms=600)
        self.restart()
        cases = []
        for i in range(4):
            if chance.random() < 0.7:
                how = chance.choice(["lost", "lost", "500", "close", "truncated", "html"])
                path = chance.choice(["POST .*(comment|log|task)$", "PATCH", "query"])
                self.hive.fail(how, n=1, path=path, user=GATEWAY)
            cases.append(self.case(f"198.18.0.{i + 1}"))
            if chance.random() < 0.2:
                self.restart()
        with self.subTest(seed=seed):
            for case, (observable,) in cases:
                self.until_told(case, "is denied", seconds=60)
                lab.wait_for(lambda o=observable: self.hive.tags(o) == ["stanch:enforced"], "the tag", 60)
            self.hive.heal()
            self.settled()
            for case, _ in cases:
                self.assertEqual(len(self.hive.told(case)), 1, self.hive.told(case))
            tasks = self.hive.state()["tasks"]
            self.assertEqual(len(tasks), len(cases) if version == 4 else 0)

    def test_each_switch(self):
        parts = {"enforced": "are denied", "refused": "refused, and not", "withdrawn": "denied no longer",
                 "tags": None}
        for off in (*parts, "all"):
            with self.subTest(off=off):
                self.begin(5, OFF if off == "all" else f", {off}: false}}")
                try:
                    case, (one, _, bad) = self.case(A, B, "192.168.1.1")
                    lab.wait_for(lambda: len(self.lab.stanch_json("list")["claims"]) == 2, "claims")
                    if off == "all":
                        PAUSE.wait(1)  # what would come would have come
                        self.assertEqual(self.written(), [])
                        self.assertEqual(self.follower(), {})
                        continue
                    told = [t for k, t in parts.items() if t and k not in (off, "withdrawn")]
                    self.until_told(case, *told)
                    self.settled()
                    self.assertEqual(self.hive.tags(one), [] if off == "tags" else ["stanch:enforced"])
                    self.hive.reopen(case)
                    lab.wait_for(lambda: not self.lab.stanch_json("list")["claims"], "no claims")
                    self.settled()
                    text = "\n".join(self.hive.told(case))
                    for name, words in parts.items():
                        if words:
                            self.assertEqual(words in text, name != off, (name, text))
                finally:
                    self.finish()

    def test_thehive_down_delays_nothing_else(self):
        self.begin(5)
        self.addCleanup(self.finish)
        case, _ = self.case(A)
        self.until_told(case, "denied", n=1)
        self.settled()
        self.hive.fail("hang", n=1000000, path=".*(comment|observable/)", user=GATEWAY)
        begun = time.monotonic()
        other, _ = self.case(B)
        lab.wait_for(lambda: any(c["indicator"] == B for c in self.lab.stanch_json("list")["claims"]), "a claim")
        lab.wait_for(lambda: self.status()["dataplane"]["equal"], "B is denied")
        self.assertLess(time.monotonic() - begun, 10)
        self.assertFalse(self.lab.arrives(B))


if __name__ == "__main__":
    unittest.main()
