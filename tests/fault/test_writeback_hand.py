# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A case is told what people block by hand from it, false positives, and why something ended: once, and also
where control is killed in between."""

import http.client
import json
import random
import socket
import unittest

import lab
import test_writeback
from test_writeback import A, B, C, GATEWAY, both

POST = "POST .*/(comment|log)$"


class Hand(test_writeback.Case):
    def api(self, path, **body):
        """(status, answer), on the socket of operators."""
        connection = http.client.HTTPConnection("control", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.lab.path("run", "control.sock"))
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def block(self, case, observable=None, user="alice@soc", **more):
        body = {"case": case, "user": user} | ({"observable": observable} if observable else {}) | more
        return self.api("/v1/cases/block", **body)

    def unblock(self, case, user="bob@soc"):
        return self.api("/v1/cases/unblock", case=case, user=user)

    def quiet(self, case, n):
        self.settled()
        self.assertEqual(len(self.hive.told(case)), n, self.hive.told(case))

    @both
    def test_block_and_its_end(self, version):
        case, (one, two) = self.case(A, B, close=False)
        self.assertEqual(self.block(case, one)[0], 200)
        text = self.until_told(case, "1 destination of this case is denied", n=1)[0]
        for part in (f"`{A}`, blocked by hand by alice@soc, entry `", ", until 20", "revision 1.",
                     "s after it was asked for"):
            self.assertIn(part, text)
        self.assertNotIn(B, text)
        lab.wait_for(lambda: self.hive.tags(one) == ["stanch:enforced"], "its tag")
        self.knock(A)
        self.until_told(case, "attempts to reach", n=2)
        self.assertEqual(self.block(case, user="carol@soc")[0], 200)  # all of it: carol's now
        text = self.until_told(case, "2 destinations of this case are denied", n=3)[2]
        self.assertIn(f"`{A}`, blocked by hand by carol@soc", text)
        self.assertEqual(self.unblock(case)[0], 200)
        text = self.until_told(case, "denied no longer", n=4)[3]
        self.assertIn(f"`{B}`, blocked by hand by carol@soc: unblocked by hand by bob@soc", text)
        lab.wait_for(lambda: self.hive.tags(one) == [] and self.hive.tags(two) == [], "no tags")
        self.quiet(case, 4)

    @both
    def test_it_ends_with_the_case(self, version):
        case, _ = self.case(A, close=False)
        self.block(case)
        self.until_told(case, "blocked by hand", n=1)
        self.hive.close(case, "FalsePositive")
        text = self.until_told(case, "denied no longer", n=2)[1]
        self.assertIn("its case was closed otherwise than as a true positive", text)
        # And who asks for it now is refused, which the case is told.
        status, answer = self.block(case)
        self.assertEqual(status, 409, answer)
        self.assertIn("the whole case, asked for by alice@soc: ",
                      self.until_told(case, "not blocked by hand", n=3)[2])
        self.quiet(case, 3)

    @both
    def test_warning_and_end(self, version):
        case, _ = self.case(A, close=False)
        self.assertEqual(self.block(case, **{"for": "8s"})[0], 200)
        self.until_told(case, "is denied", n=1)
        self.assertIn(f"`{A}`, blocked by hand by alice@soc, denied until",
                      self.until_told(case, "ends soon", n=2)[1])
        self.assertIn("its end has come", self.until_told(case, "denied no longer", n=3)[2])
        self.quiet(case, 3)

    @both
    def test_beside_the_verdict(self, version):
        """What both deny is told of both; the end of one leaves the other."""
        case, _ = self.case(A)
        self.until_told(case, "is denied", n=1)
        self.assertEqual(self.block(case)[0], 200)
        self.until_told(case, "blocked by hand by alice@soc", n=2)
        self.unblock(case)
        self.assertIn("It is still denied", self.until_told(case, "unblocked by hand", n=3)[2])
        self.lab.stanch("allow", A, "--for", "1h", "--reason", "the bank")
        self.until_told(case, "allowed by an operator", n=4)
        self.quiet(case, 4)

    @both
    def test_an_allow_over_a_block_by_hand(self, version):
        case, _ = self.case(A, close=False)
        self.block(case)
        self.until_told(case, "is denied", n=1)
        self.lab.stanch("allow", A, "--for", "1h", "--reason", "the bank")
        self.until_told(case, "allowed by an operator", n=2)
        self.lab.stanch("allow", A, "--end")
        self.until_told(case, "the allow has ended", n=3)
        self.quiet(case, 3)

    @both
    def test_refused_and_held(self, version):
        case, (one, protected) = self.case(A, "192.168.1.1", close=False)
        status, answer = self.block(case)
        self.assertEqual((status, answer["refused"]), (200, 1))
        text = self.until_told(case, "is denied", n=1)[0]
        self.assertIn(f"`192.168.1.1` (observable {protected}), asked for by alice@soc: protected by", text)
        self.quiet(case, 1)
        red, (observable,) = self.case(B, close=False, pap=3)
        self.assertEqual(self.block(red, observable)[0], 422)
        self.assertIn("PAP:RED", self.until_told(red, "not blocked by hand", n=1)[0])
        self.block(red, observable)  # another click is told too
        self.until_told(red, "not blocked by hand", n=2)
        self.quiet(red, 2)

    @both
    def test_refusals_survive_a_kill(self, version):
        case, (observable,) = self.case("192.168.1.1", close=False)
        self.hive.fail("lost", n=1, path=POST, user=GATEWAY)
        self.assertEqual(self.block(case, observable)[0], 422)
        self.restart()
        self.until_told(case, "not blocked by hand")
        self.restart()
        self.quiet(case, 1)

    @both
    def test_held_and_rejected(self, version):
        self.configure(extra="  brakes: {case_claims_per_minute: 1}\n")
        self.restart()
        lab.wait_for(lambda: self.source().get("reconciled"), "a listing", 20)
        case, _ = self.case(A, B, C, close=False)
        status, answer = self.block(case)
        self.assertGreaterEqual(answer["held"], 1, answer)
        text = self.until_told(case, "held, and not denied until an operator approves", n=1)[0]
        self.assertIn("case_claims_per_minute", text)
        held = self.lab.stanch_json("held")["held"]
        self.assertEqual(self.lab.stanch("held", "reject", str(held[0]["id"]), "--reason", "no harm").returncode, 0)
        self.assertIn("no harm (uid 0 ", self.until_told(case, "held no longer, and not denied", n=2)[1])
        self.quiet(case, 2)

    @both
    def test_it_goes_on_in_the_merged_case(self, version):
        case, _ = self.case(A, close=False)
        self.block(case)
        self.until_told(case, "blocked by hand", n=1)
        self.settled()
        new = self.hive.merge(case, self.hive.case_create("Other"))
        self.assertIn(f"`{A}`, blocked by hand by alice@soc",
                      self.until_told(new, "blocked by hand", n=2 if version == 5 else 1)[-1])
        claims = self.lab.stanch_json("list")["claims"]
        self.assertEqual([f"/{new}/" in c["ref"] for c in claims], [True], claims)
        self.hive.close(new, "FalsePositive")
        self.until_told(new, "its case was closed otherwise than as a true positive")
        self.assertEqual(self.lab.stanch_json("list")["claims"], [])

    def test_the_tag_that_no_webhook_tells(self):
        """Cortex sets it some time after the click, and TheHive 4 tells nobody."""
        self.begin(4)
        self.addCleanup(self.finish)
        self.configure(incremental_s=900)
        self.restart()
        lab.wait_for(lambda: self.source().get("reconciled"), "a listing", 20)
        case, (one,) = self.case(A)
        self.until_told(case, "is denied", n=1)
        self.settled()
        status, answer = self.unblock(case)
        self.assertEqual((status, answer["own"]), (200, 1))
        self.hive.set(webhook_url=None)
        self.hive.observable_patch(one, tags=["stanch:enforced", "stanch:none"])
        lab.wait_for(lambda: not self.lab.stanch_json("list")["claims"], "no claims", 40)
        self.until_told(case, "denied no longer", n=2)

    # --- restarts

    @both
    def test_a_cause_survives_a_kill(self, version):
        """Killed between a withdrawal and its comment: the comment still says why."""
        for how, words in (("open", "open"), ("ioc", "IOC"), ("deleted", "removed from the case"),
                           ("hand", "unblocked by hand by bob@soc")):
            with self.subTest(how=how):
                case, (one, _) = self.case(A, B, close=how != "hand")
                if how == "hand":
                    self.block(case)
                self.until_told(case, "are denied", n=1)
                self.settled()
                self.hive.fail("hang", n=1000, path=POST, user=GATEWAY, ms=60000)
                if how == "open":
                    self.hive.reopen(case)
                elif how == "ioc":
                    self.hive.observable_patch(one, ioc=False)
                elif how == "deleted":
                    self.hive.observable_delete(one)
                else:
                    self.unblock(case)
                lab.wait_for(lambda: not self.lab.stanch_json("why", A)["claims"], "the claim has ended")
                self.restart()  # before, while or after its text is written: whatever comes
                self.restart()
                self.hive.heal()
                text = self.until_told(case, "denied no longer")[-1]
                self.assertIn(words, text)
                self.quiet(case, 2)
                if how in ("ioc", "deleted"):
                    self.hive.reopen(case)
                    lab.wait_for(lambda: not self.lab.stanch_json("list")["claims"], "no claims")

    @both
    def test_lost_answers_and_kills(self, version):
        case, _ = self.case(A, close=False)
        for n, act in enumerate((lambda: self.block(case), lambda: self.unblock(case)), 1):
            self.hive.requests_forget()
            self.hive.fail("lost", n=1, path=POST, user=GATEWAY)
            act()
            lab.wait_for(lambda: any(r["path"].endswith(("/comment", "/log")) for r in self.hive.requests()),
                         "the comment was sent")
            self.restart()
            self.until_told(case, "denied")
            self.quiet(case, n)

    @both
    def test_any_faults_any_restarts(self, version):
        """Whatever happens on the way, and in whatever order: one text for each thing that people did."""
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        self.hive.set(index_delay_ms=300)
        self.configure(index_delay_ms=600)
        self.restart()
        lab.wait_for(lambda: self.source().get("reconciled"), "a listing", 20)
        cases = [(self.case(f"198.18.0.{i + 1}", "192.168.1.1", close=False)[0], [], []) for i in range(3)]
        words = {"block": "is denied", "unblock": "denied no longer"}
        test_writeback.PAUSE.wait(1)  # TheHive's index has the observables
        with self.subTest(seed=seed):
            for _ in range(10):
                case, done, refused = chance.choice(cases)
                act = "unblock" if "block" in done[-1:] else "block"
                if chance.random() < 0.6:
                    how = chance.choice(["lost", "lost", "500", "close", "truncated", "html"])
                    path = chance.choice(["POST .*(comment|log|task)$", "PATCH", "query.*(comments|tasks)"])
                    self.hive.fail(how, n=1, path=path, user=GATEWAY)
                status, answer = self.unblock(case) if act == "unblock" else self.block(case)
                self.assertEqual(status, 200, answer)
                refused.extend([answer] if answer["refused"] else [])
                done.append(act)
                if chance.random() < 0.4:
                    self.restart()
                    lab.wait_for(lambda: self.source().get("state") == "up", "TheHive", 30)
                self.until_counted(case, {words[act]: done.count(act)}, done)
            self.hive.heal()
            self.settled()
            for case, done, refused in cases:
                self.until_counted(case, {"not blocked by hand": len(refused), words["block"]: done.count("block"),
                                          words["unblock"]: done.count("unblock")}, done)

    def until_counted(self, case, wanted, done):
        def counts():
            told = self.hive.told(case)
            return {words: sum(words in text for text in told) for words in wanted}
        try:
            lab.wait_for(lambda: all(n >= wanted[w] for w, n in counts().items()), "what was done is told", 60)
        except TimeoutError:
            pass
        self.assertEqual(counts(), wanted, (done, self.hive.told(case), self.follower()))

    # --- false positives

    def immune(self, *data, **fields):
        case, observables = self.case(*data, close=False, **fields)
        for observable in observables:
            self.hive.observable_patch(observable, tags=["stanch:false-positive"])
        self.hive.close(case, "FalsePositive", key="alice-key")
        return case, observables

    @both
    def test_immunity_and_its_end(self, version):
        case, (one,) = self.immune(A)
        text = self.until_told(case, "a false positive, immune against lists", n=1)[0]
        self.assertIn(f"`{A}`, until 20", text)
        self.assertIn("no list names it now", text)
        self.quiet(case, 1)
        self.hive.fail("lost", n=1, path=POST, user=GATEWAY)
        self.hive.reopen(case)
        self.restart()
        text = self.until_told(case, "immune against lists no longer")[-1]
        self.assertIn("open", text)
        self.quiet(case, 2)

    @both
    def test_a_later_true_positive(self, version):
        case, _ = self.immune(A)
        self.until_told(case, "immune against lists", n=1)
        test_writeback.PAUSE.wait(1.1)  # the order of two closings is known by the second
        other, _ = self.case(A)
        self.until_told(other, "is denied", n=1)
        text = self.until_told(case, "immune against lists no longer", n=2)[1]
        self.assertIn("a later true positive", text)
        self.assertIn("It is denied", text)
        self.quiet(case, 2)

    def test_switches(self):
        self.begin(5, ", immunity: false, enforced: false, refused: false}")
        self.addCleanup(self.finish)
        case, _ = self.immune(A)
        lab.wait_for(lambda: "immunity" in str(self.lab.stanch_json("why", A)), "an immunity")
        self.quiet(case, 0)
        other, _ = self.case(B, "192.168.1.1", close=False)
        self.block(other)
        lab.wait_for(lambda: self.status()["dataplane"]["equal"] and len(self.lab.stanch_json("list")["claims"]) == 1,
                     "it is blocked")
        self.quiet(other, 0)


if __name__ == "__main__":
    unittest.main()
