# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Whatever happens in TheHive, whatever becomes of its webhooks and answers, and whenever
stanch-control dies: one full listing later the ledger says what the cases say. So does that of a fresh gateway.

Random, for $STANCH_PROPERTY_S seconds (20); each round prints its seed. $STANCH_SEED reruns one.
"""

import os
import random
import signal
import sys
import time
import unittest

from test_thehive import CONTROL, GATEWAY, Lab, wait_for

SECONDS = float(os.environ.get("STANCH_PROPERTY_S", "20"))
STEPS = 40
CASES = 16  # to begin with; enough of them to be judged together
FIELDS = ["enforce", "enforce", "enforce", "monitor", "none", "nonsense", None]
ANSWERS = ["empty", "truncated", "half", "html", "401", "404", "500", "close"]


class Analysts:
    """What they do, and what the ledger should say of it."""

    def __init__(self, lab, seed):
        self.lab, self.hive, self.random = lab, lab.hive, random.Random(seed)
        self.steps, self.next_address = [], 0
        self.cases, self.waiting = [], set()  # merged, and not closed since

    def address(self):
        self.next_address += 1
        return f"198.18.{self.next_address // 250}.{self.next_address % 250 + 1}"

    def one_observable(self, case):
        mine = [o for o in self.hive.state()["observables"] if o["_case"] == case]
        return self.random.choice(mine)["_id"] if mine else None

    def create(self):
        case = self.hive.case_create("Case", field=self.random.choice(FIELDS))
        self.cases.append(case)
        for _ in range(self.random.randint(0, 3)):
            self.add(case)

    def add(self, case):
        # Some are named by several cases.
        data = self.random.choice([self.address(), self.address(), "203.0.113.7"])
        mine = [o["data"] for o in self.hive.state()["observables"] if o["_case"] == case]
        if data not in mine:
            self.hive.observable_create(case, data, ioc=self.random.random() < 0.8)

    def close(self, case, status="TruePositive"):
        self.hive.close(case, status)
        self.waiting.discard(case)

    def close_otherwise(self, case):
        self.close(case, self.random.choice(["FalsePositive", "Other", "Indeterminate"]))

    def reopen(self, case):
        self.hive.reopen(case)

    def act(self, case):
        self.hive.patch(case, customFields={"stanch-action": self.random.choice(FIELDS[:-1])})

    def ioc(self, case):
        observable = self.one_observable(case)
        if observable:
            self.hive.observable_patch(observable, ioc=self.random.random() < 0.5)

    def tag(self, case):
        observable = self.one_observable(case)
        if observable:
            tag = self.random.choice(["stanch:none", "stanch:monitor", "stanch:enforce", "other"])
            self.hive.observable_patch(observable, tags=[tag])

    def remove(self, case):
        observable = self.one_observable(case)
        if observable:
            self.hive.observable_delete(observable)

    def delete(self, case):
        self.hive.case_delete(case)
        self.cases.remove(case)
        self.waiting.discard(case)

    def merge(self, case):
        other = self.random.choice(self.cases)
        if other == case:
            return
        new = self.hive.merge(case, other)
        for gone in (case, other):
            self.cases.remove(gone)
            self.waiting.discard(gone)
        self.cases.append(new)
        self.waiting.add(new)

    def webhooks(self):
        how = self.random.choice(["well", "lost", "one lost", "doubled", "shuffled", "late"])
        self.hive.set(hook_lose={"lost": -1, "one lost": 1}.get(how, 0),
                      hook_double=3 if how == "doubled" else 0,
                      hook_shuffle=5 if how == "shuffled" else 0,
                      hook_delay_ms=[50, 400] if how == "late" else [0, 0])
        self.steps.append(how)

    def answers(self):
        how = self.random.choice(ANSWERS)
        path = self.random.choice([".", "query", "GET .*/case/", "GET .*/observable/"])
        # 404 for one case's address alone: every other would be told as gone.
        self.hive.fail(how, n=self.random.randint(1, 4), path=path, user=GATEWAY)
        self.steps.append(how)

    def restart(self):
        self.lab.stop(kill=self.random.random() < 0.7)
        self.lab.start()

    def step(self):
        doing = [self.create, self.webhooks, self.answers] + [self.restart] * (self.random.random() < 0.1)
        with_case = [self.add] * 3 + [self.close] * 8 + [self.ioc, self.tag, self.remove] * 2 + [
            self.close_otherwise, self.reopen, self.act, self.delete, self.merge]
        if len(self.cases) > 2 and self.random.random() < 0.75:
            what = self.random.choice(with_case)
            self.steps.append(what.__name__)
            what(self.random.choice(self.cases))
        else:
            what = self.random.choice(doing)
            self.steps.append(what.__name__)
            what()

    # --- the model

    @staticmethod
    def true_positive(case, version):
        if version == 4:
            return case["status"] == "Resolved" and case.get("resolutionStatus") == "TruePositive"
        return case["stage"] == "Closed" and case["status"] == "TruePositive"

    def wanted(self):
        """{(case, address): action} of what is to be live; cases whose claims are as they were."""
        state, wanted, unclear = self.hive.state(), {}, set()
        for case in state["cases"]:
            if not self.true_positive(case, self.hive.version):
                continue
            action = next((f["value"] for f in case["customFields"] if f["name"] == "stanch-action"),
                          None)
            if action == "nonsense":
                unclear.add(case["_id"])
            for o in state["observables"]:
                own = {"stanch:none": "none", "stanch:monitor": "monitor",
                       "stanch:enforce": "enforce"}.get((o["tags"] or [""])[0])
                does = action if action in ("none", "nonsense") else own or action
                if o["_case"] == case["_id"] and o["ioc"] and does in ("enforce", "monitor"):
                    wanted[case["_id"], o["data"]] = does
        return wanted, unclear

    def claims(self, *states):
        return {(c["ref"].split("/")[1], c["indicator"]): c["action"]
                for c in self.lab.all_claims() if c["state"] in states}


@unittest.skipUnless(os.path.exists(CONTROL), f"{CONTROL} is not built")
class Model(unittest.TestCase):
    def settle(self, analysts):
        """The faults end, and everything is listed once."""
        lab, hive = analysts.lab, analysts.hive
        hive.heal()
        hive.set(hook_lose=0, hook_double=0, hook_shuffle=0, hook_delay_ms=[0, 0],
                 index_delay_ms=0)  # what the index lacks, no listing shows
        before = lab.logged().count("all is read again")
        lab.process.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: lab.logged().count("all is read again") > before)
        wait_for("all is listed", lab.listed, 30)
        lab.settled()

    def check(self, analysts):
        wanted, unclear = analysts.wanted()
        live = {k: v for k, v in analysts.claims("live").items() if k[0] not in unclear}
        self.assertEqual(live, wanted)
        there = {c["_id"] for c in analysts.hive.state()["cases"]}
        for case, address in analysts.claims("orphaned"):
            self.assertTrue(case not in there or case in analysts.waiting | unclear, (case, address))

    def round(self, version, seed):
        lab = Lab(version, hook_version=str(seed % 2), incremental_s=1, index_delay_ms=100,
                  stand_in={"index_delay_ms": 30})
        analysts = Analysts(lab, seed)
        try:
            lab.hive.fill(CASES, observables=2, deny=1)
            analysts.cases += [c["_id"] for c in lab.hive.state()["cases"]]
            for _ in range(STEPS):
                analysts.step()
            self.settle(analysts)
            self.check(analysts)
            lab.forget()
            lab.start()
            lab.settled()
            self.check(analysts)
            print(f"{version}: seed {seed}, {len(analysts.claims('live'))} live claims",
                  file=sys.stderr)
        except AssertionError:
            print(f"STANCH_SEED={seed} (TheHive {version}): {' '.join(analysts.steps)}",
                  file=sys.stderr)
            raise
        finally:
            lab.end()

    def test_one_listing_makes_the_ledger_equal_to_the_cases(self):
        given = os.environ.get("STANCH_SEED")
        end = time.monotonic() + SECONDS
        while True:
            seed = int(given) if given else random.SystemRandom().randrange(1 << 32)
            for version in (4, 5):
                self.round(version, seed)
            if given or time.monotonic() > end:
                return


if __name__ == "__main__":
    unittest.main()
