# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""Somebody else at F5 XC: every kind of drift, repaired or only shown; two mirrors on one tenant."""

import copy
import signal
import unittest

import lab
from f5xc_case import A, B, C, FAST, SET, MirrorCase

KEEP = "192.0.2.1/32"


def rows(*prefixes):
    return {"ipv4_prefixes": [{"ipv4_prefix": p} for p in prefixes]}


class Drift(MirrorCase):
    def stored(self, **more):
        self.start(**more)
        self.block(A, B)
        self.until_why(A, "stored")
        self.until_why(B, "stored")
        return self.f5.sets()[0]

    def edit(self, was, spec=None, **metadata):
        self.f5.put(SET, {"metadata": copy.deepcopy(was["metadata"]) | metadata, "spec": spec or was["spec"]})

    def test_every_kind_is_repaired(self):
        was = self.stored()
        bare = {k: v for k, v in was["metadata"]["annotations"].items() if k != "stanch.content"}
        described = [r | {"description": "theirs"} for r in was["spec"]["ipv4_prefixes"]]
        kinds = {
            "added": (rows(KEEP, f"{A}/32", f"{B}/32", "198.51.100.0/24"), {}),
            "taken out": (rows(KEEP, f"{A}/32"), {}),
            "exchanged": (rows("198.51.100.0/24"), {}),
            "emptied": ({}, {}),
            "described": ({"ipv4_prefixes": described}, {}),
            "disabled": (None, {"disable": True}),
            "annotation gone": (None, {"annotations": bare}),
        }
        for kind, (spec, metadata) in kinds.items():
            with self.subTest(kind):
                self.edit(was, spec, **metadata)
                lab.wait_for(lambda: self.same(was), f"{kind} is repaired: {self.f5.sets()[0]}", 20)
        self.f5.remove(SET)
        lab.wait_for(lambda: self.names() == [SET] and self.same(was), "it is made again", 20)
        self.assertIn("drift: stanch-v4-000: somebody added 1 prefixes and took out 0", self.lab.log("control"))
        self.assertIn("somebody deleted it", self.lab.log("control"))
        self.assertGreater(self.lab.stanch_json("f5")["drifts"], 4)

    def same(self, was):
        now = self.f5.sets()
        return bool(now) and now[0]["spec"] == was["spec"] and not now[0]["metadata"].get("disable") \
            and "stanch.content" in now[0]["metadata"]["annotations"]

    def test_what_stands_in_foreign_annotations_stays(self):
        was = self.stored()
        self.edit(was, rows(KEEP), annotations=was["metadata"]["annotations"] | {"theirs": "x"},
                  labels=was["metadata"]["labels"] | {"team": "net"})
        self.until(A, B)
        metadata = self.f5.sets()[0]["metadata"]
        self.assertEqual((metadata["annotations"]["theirs"], metadata["labels"]["team"]), ("x", "net"))

    def test_the_label_taken_off_is_no_longer_ours(self):
        was = self.stored()
        self.edit(was, labels={})
        lab.wait_for(lambda: "does not bear our owner label" in self.warnings(), "it alarms")
        self.until_why(A, "stored")  # in the next set
        self.assertEqual(self.names(), [SET, "stanch-v4-001"])
        self.assertEqual(self.f5.sets()[0]["metadata"]["labels"], {})

    def test_only_shown(self):
        was = self.stored(drift="show")
        self.edit(was, rows(KEEP, f"{A}/32", "198.51.100.0/24"))
        self.until_why(B, "pending: somebody took it out at F5")
        self.assertIn("somebody added 1 prefixes and took out 1", self.warnings())
        self.block(C)  # what is new still goes there, beside theirs
        self.until(A, C, "198.51.100.0/24")
        self.unblock(A)
        self.until(C, "198.51.100.0/24")
        done = self.lab.stanch("f5", "diff")
        self.assertEqual(done.returncode, 2)
        self.assertIn("- 198.51.100.0/24", done.stdout)

    def test_deleted_and_only_reported(self):
        self.stored(deleted="report")
        self.f5.remove(SET)
        self.until_why(A, "pending: stanch-v4-000 was deleted at F5")
        self.lab.end(self.lab.processes.pop(), signal.SIGKILL)
        self.lab.start_control()
        self.until_why(A, "pending: stanch-v4-000 was deleted at F5")  # a restart forgets it not
        self.assertEqual(self.f5.sets(), [])
        self.assertEqual(self.lab.stanch("f5", "sync").returncode, 0)
        self.until(A, B)

    def test_plan_and_diff(self):
        self.stored()
        lab.wait_for(lambda: self.lab.stanch("f5", "diff").returncode == 0, "nothing differs")
        self.assertEqual(self.lab.stanch("f5", "status").returncode, 0)
        self.f5.fail(n=1000, status=500, method="PUT")
        self.unblock(A)
        self.block(C)
        lab.wait_for(lambda: f"+ {C}/32" in self.lab.stanch("f5", "diff").stdout, "the diff has it")
        self.assertIn(f"- {A}/32", self.lab.stanch("f5", "diff").stdout)
        done = self.lab.stanch("f5", "plan")
        self.assertEqual(done.returncode, 2)
        self.assertIn("replace stanch-v4-000: +1 -1", done.stdout)
        self.f5.mend()
        self.until(B, C, seconds=30)


class Two(MirrorCase):
    def second(self, **f5):
        other = lab.Lab.bare()
        self.addCleanup(other.close)
        other.configure(other.control_section(f5={"url": self.f5.url, "token": "word", "fleet": "other"} | f5))
        other.start_control()
        return other

    def owners(self):
        return {s["metadata"]["name"]: s["metadata"]["labels"]["stanch-owner"] for s in self.f5.sets()}

    def test_neither_touches_what_is_the_others(self):
        for prefix, name in (("stanch", "stanch-v4-001"), ("beside", "beside-v4-000")):
            with self.subTest(prefix):
                if not self.lab.processes:
                    self.start()
                    self.block(A)
                    self.until_why(A, "stored")
                other = self.second(more=FAST | {"prefix": prefix})
                other.stanch("block", B, "--reason", "a test")
                lab.wait_for(lambda: "stored" in other.stanch("why", B).stdout, "the other's is stored")
                self.assertEqual(self.owners()[SET], "lab")
                self.assertEqual(self.owners()[name], "other")
                other.stanch("unblock", B)
                lab.wait_for(lambda: f"{B}/32" not in self.f5.prefixes(), "the other's is withdrawn")
                self.assertIn(f"{A}/32", self.f5.prefixes())
                other.close()
        for r in self.writes():
            owner = r["body"]["metadata"]["labels"]["stanch-owner"]
            self.assertEqual(owner, "lab" if r["body"]["metadata"]["name"] == SET else "other")


if __name__ == "__main__":
    unittest.main()
