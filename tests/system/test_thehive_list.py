# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Full listings of a large TheHive: many cases judged together, pages that fit, a restart in the middle, and what is
done where TheHive refuses a question.

The build directory is $STANCH_BUILD, or build/ at the root.
"""

import os
import re
import unittest

from test_thehive import CONTROL, GATEWAY, HiveCase, both, wait_for


def addresses(cases, each=1, deny=1):
    """Of those that the stand-in's fill() makes and that deny."""
    return {f"20.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
            for i in range(0, cases, deny) for n in range(i * each, (i + 1) * each)}


def since(request):
    return int(re.search(r'"_createdAt","_value":(\d+)', request["asked"])[1])


@unittest.skipUnless(os.path.exists(CONTROL), f"{CONTROL} is not built")
class Listings(HiveCase):
    def fresh(self, version, **thehive):
        """A lab whose gateway has no ledger yet and does not run."""
        lab, hive = self.lab(version, **thehive)
        lab.forget()
        hive.set(hook_lose=-1)
        return lab, hive

    @staticmethod
    def later(hive):
        """All there is lies before what the listing of changes looks at."""
        hive.set(clock_step_ms=60000)
        hive.patch(hive.case_create("Later"), tags=["x"])
        hive.observable_create(hive.case_create("Later"), "198.51.100.1")

    def live(self, lab):
        return {i for i, c in lab.claims().items() if c["state"] == "live"}

    @both
    def test_a_fresh_gateway_judges_many_cases_together(self, version):
        lab, hive = self.fresh(version)
        hive.fill(400, observables=3, deny=2)
        state = hive.state()
        of = {o["data"]: o for o in state["observables"]}
        wanted = addresses(400, 3, 2)
        hive.observable_patch(of["20.0.0.0"]["_id"], ioc=False)
        hive.observable_patch(of["20.0.0.1"]["_id"], tags=["stanch:none"])
        hive.observable_patch(of["20.0.0.6"]["_id"], tags=["stanch:monitor"])
        hive.patch(of["20.0.0.12"]["_case"], pap=3)
        wanted -= {"20.0.0.0", "20.0.0.1", "20.0.0.12", "20.0.0.13", "20.0.0.14"}
        lab.start()
        claims = lab.claims()
        self.assertEqual(set(claims), wanted)
        self.assertEqual({i for i, c in claims.items() if c["action"] == "monitor"}, {"20.0.0.6"})
        for claim in claims.values():
            self.assertEqual(claim["ref"].split("/")[1:], [of[claim["indicator"]]["_case"],
                                                           of[claim["indicator"]]["_id"]])
        self.assertIn("PAP:RED", str(lab.source()["refused"]))
        # None of the 200 is read by itself.
        self.assertEqual([r for r in lab.asked() if "/case/" in r["path"]] + lab.asked("observables"), [])
        self.assertLess(len(lab.asked()), 45)

    @both
    def test_what_lists_withhold_is_not_believed(self, version):
        """Answered [] now and then, no claim ends, and the next listing makes all good."""
        lab, hive = self.fresh(version, full_s=1, incremental_s=1)
        hive.fail("empty", n=1000000, path="stanch-changes", user=GATEWAY)  # the full one is alone
        hive.fill(60, observables=2, deny=1)
        hive.fail("empty", n=3, path="closed-observables", user=GATEWAY)
        lab.start()
        wait_for("all claims", lambda: self.live(lab) == addresses(60, 2))
        listings = lab.source()["listings"]
        hive.fail("empty", n=5, path="closed-observables", user=GATEWAY)
        wait_for("two listings", lambda: lab.source()["listings"] >= listings + 2)
        self.assertEqual(self.live(lab), addresses(60, 2))
        self.assertEqual(lab.audit("claim.end") + lab.audit("claim.orphan"), [])

    @both
    def test_a_reopening_during_the_listing_holds(self, version):
        """What a webhook told is newer than the page that waits."""
        lab, hive = self.fresh(version, max_per_second=10)
        hive.fill(60, observables=1, deny=1)
        lab.begin()
        wait_for("lists of observables", lambda: lab.asked("closed-observables"))
        hive.set(hook_lose=0)
        cases = [c["_id"] for c in hive.state()["cases"]]
        hive.reopen(cases[7])
        wait_for("all is listed", lab.listed)
        lab.settled()
        self.assertEqual(self.live(lab), addresses(60) - {"20.0.0.7"})

    @both
    def test_a_restart_goes_on_where_it_was(self, version):
        lab, hive = self.fresh(version, max_per_second=20)
        hive.fill(1500, observables=1, deny=4)
        self.later(hive)
        lab.begin()
        wait_for("a place that is kept", lambda: len(lab.asked("closed")) >= 6)
        lab.stop(kill=True)
        done = max(since(r) for r in lab.asked("closed"))
        cases = [c["_id"] for c in hive.state()["cases"]]
        of = {o["_case"]: o for o in hive.state()["observables"]}
        hive.reopen(cases[0])
        hive.observable_delete(of[cases[4]]["_id"])
        hive.case_delete(cases[8])
        hive.requests_forget()
        lab.start()
        self.assertGreater(since(lab.asked("closed")[0]), 0)
        self.assertLessEqual(since(lab.asked("closed")[0]), done)
        self.assertIn("goes on where it was", lab.logged())
        lab.settled()
        gone = {"20.0.0.0", "20.0.0.4"}
        self.assertEqual(set(lab.claims()), addresses(1500, 1, 4) - gone)
        self.assertEqual(self.live(lab), addresses(1500, 1, 4) - gone - {"20.0.0.8"})
        # What was taken along from before the restart is asked for a page at a time.
        self.assertLess(len([r for r in lab.asked() if "/case/" in r["path"]]), 20)
        # A whole one follows.
        wait_for("a listing from the beginning", lambda: any(since(r) == 0 for r in lab.asked("closed")))

    def test_a_restart_with_other_rules_begins_anew(self):
        lab, hive = self.fresh(5, max_per_second=20, max_pap="GREEN")
        hive.fill(1500, observables=1, deny=4)  # PAP:AMBER
        lab.begin()
        wait_for("a place that is kept", lambda: len(lab.asked("closed")) >= 6)
        lab.stop(kill=True)
        hive.requests_forget()
        lab.start(max_pap="AMBER")
        self.assertEqual(since(lab.asked("closed")[0]), 0)
        self.assertEqual(self.live(lab), addresses(1500, 1, 4))

    @both
    def test_pages_shrink_where_answers_are_cut(self, version):
        lab, hive = self.fresh(version)
        hive.fill(90, observables=9, deny=1, description="x" * 10000)
        hive.set(answer_max=60000)
        lab.start()
        self.assertEqual(self.live(lab), addresses(90, 9))
        self.assertLess(max(r["size"] for r in lab.asked("closed", "closed-observables")[-3:]), 60000)
        self.assertTrue(lab.source()["up"])

    def test_more_than_64_mib_of_cases(self):
        """TheHive 4 sends the descriptions along, of 1 MiB at most. That is no trouble of its."""
        lab, hive = self.fresh(4)
        hive.fill(70, observables=1, deny=1, description="x" * 1000000)
        lab.start()
        self.assertEqual(self.live(lab), addresses(70))
        sizes = [r["size"] for r in lab.asked("closed")]
        self.assertGreater(sizes[0], 64 << 20)
        self.assertLess(sizes[-1], 64 << 20)
        self.assertEqual(lab.source()["failures"], 0)

    def own_tags(self, version):
        """Three cases without an action; observables with tags of their own."""
        lab, hive = self.fresh(version, responses="[{value: contain, action: monitor, for: 2h}]")
        tags = {"203.0.113.7": "stanch:enforce", "203.0.113.8": "stanch:enforce:4h", "203.0.113.9": "stanch:contain"}
        for data, tag in tags.items():
            case = hive.case_create("No action")
            hive.observable_create(case, data, tags=["other", tag])
            hive.observable_create(case, "198.51.100.1")
            hive.close(case)
        return lab, hive, tags

    @both
    def test_own_tags_in_cases_without_an_action(self, version):
        lab, _, tags = self.own_tags(version)
        lab.start()
        claims = lab.claims()
        self.assertEqual(set(claims), set(tags))
        self.assertEqual({i for i, c in claims.items() if c["until"] == "never"}, {"203.0.113.7"})
        self.assertEqual(claims["203.0.113.9"]["action"], "monitor")

    # --- what TheHive refuses

    @both
    def test_tags_by_prefix_are_refused(self, version):
        lab, hive, tags = self.own_tags(version)
        hive.fail("400", path="stanch-tagged", user=GATEWAY)
        lab.start()
        self.assertEqual(set(lab.claims()), set(tags) - {"203.0.113.8"})
        self.assertIn("does not list observables by tags with a duration", lab.logged())
        lab.forget()
        hive.fail("400", n=1000000, path="stanch-tagged", user=GATEWAY)
        lab.start()
        self.assertEqual(lab.claims(), {})
        self.assertIn("does not list observables by tag\n", lab.logged())
        self.assertEqual(len(lab.asked("tagged")), 2)

    def listed_one_by_one(self, version, how, **thehive):
        lab, hive = self.fresh(version, **thehive)
        hive.fill(20, observables=2, deny=1)
        hive.fail(how, n=1000000, path="closed-observables", user=GATEWAY)
        lab.start()
        self.assertEqual(self.live(lab), addresses(20, 2))
        self.assertEqual(len(lab.asked("closed-observables")), 1)
        self.assertEqual(len(lab.asked("observables")), 20)
        lab.stop()  # the same with claims that are to be compared
        hive.observable_delete(hive.state()["observables"][0]["_id"])
        lab.start()
        lab.settled()
        self.assertEqual(self.live(lab), addresses(20, 2) - {"20.0.0.0"})
        return lab

    @both
    def test_observables_of_cases_are_refused(self, version):
        lab = self.listed_one_by_one(version, "400")
        self.assertIn("does not list observables of cases\n", lab.logged())

    def test_observables_of_cases_come_too_late(self):
        lab = self.listed_one_by_one(5, "hang", timeout_ms=300)
        self.assertIn("does not list observables of cases in time", lab.logged())

    @both
    def test_cases_by_their_ids_are_refused(self, version):
        lab, hive = self.fresh(version)
        hive.fill(20, observables=1, deny=1)
        lab.start()
        cases = [c["_id"] for c in hive.state()["cases"]]
        lab.stop()
        for case in cases[:10]:
            hive.reopen(case)
        for case in cases[10:12]:
            hive.case_delete(case)
        hive.fail("400", n=1000000, path="stanch-absent", user=GATEWAY)
        hive.fail("empty", n=1000000, path="stanch-changes", user=GATEWAY)  # the full listing is alone
        lab.start()
        lab.settled()
        self.assertEqual(self.live(lab), addresses(20) - addresses(12))
        self.assertEqual(set(lab.claims()), addresses(20) - addresses(10))
        self.assertIn("does not list cases by their ids", lab.logged())

    @both
    def test_the_case_of_an_observable_is_refused(self, version):
        """Then nothing tells of a merge, and the claims are orphans."""
        lab, hive = self.fresh(version)
        hive.fill(2, observables=1, deny=1)
        lab.start()
        lab.stop()
        hive.fail("400", n=1000000, path="stanch-parent", user=GATEWAY)
        hive.merge(*[c["_id"] for c in hive.state()["cases"]])
        lab.start()
        self.assertEqual({c["state"] for c in lab.claims().values()}, {"orphaned"})

    def test_the_version_is_asked_in_three_ways(self):
        lab, hive = self.fresh(5)
        hive.fill(1, observables=1, deny=1)
        for path in ("status/public", "GET /api/status|status/public"):
            hive.fail("404", n=1000000, path=path)
            lab.start()
            self.assertEqual(self.live(lab), addresses(1))
            lab.stop()


if __name__ == "__main__":
    unittest.main()
