# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""F5 XC answers 400, 403, 404, 429 and 5xx: what is refused is found, what is missing is named, and it is not run over."""

import time
import unittest

import lab
from f5xc_case import A, B, V6, MirrorCase
from f5xc_client import F5XC


class Limits(MirrorCase):
    def many(self, n):
        return [f"203.0.113.{i}" for i in range(1, n + 1)]

    def test_what_is_refused_is_found_by_halves(self):
        for bad in (1, 3):
            with self.subTest(bad):
                entries = self.many(40)
                refused = entries[5:5 + bad * 7:7]
                self.f5.poison(*[f"{n}/32" for n in refused])
                if not self.lab.processes:
                    self.start(reconcile_s=600)
                seen = len(self.writes())
                self.block(*entries)
                good = [n for n in entries if n not in refused]
                self.until(*good, seconds=30)
                for n in refused:
                    self.until_why(n, "refused: writing: 400", 30)
                    self.assertIn("not to our taste", self.why(n))
                self.until_why(good[0], "stored")
                self.assertLess(len(self.writes()) - seen, 30)  # not one by one
                for n in entries:
                    self.unblock(n)
                self.until(seconds=30)

    def test_refused_is_tried_again(self):
        self.f5.poison(f"{A}/32")
        self.start()
        self.block(A, B)
        self.until_why(A, "refused")
        self.until(B)
        self.f5.poison()
        self.until(A, B, seconds=30)

    def test_a_refusal_of_everything_refuses_no_entry(self):
        self.start()
        self.block(A)
        self.until_why(A, "stored")
        self.f5.fail(n=1000, status=400, method="PUT")
        self.unblock(A)  # nothing new is in the write
        self.until_why(A, "withdrawn: still stored there; writing: 400")
        self.f5.mend()
        self.until(seconds=30)

    def test_403_and_404_name_what_is_missing(self):
        self.start()
        for status, text in ((403, "403: the token's role may not do this in namespace system"),
                             (404, "404: no namespace system there")):
            with self.subTest(status):
                self.f5.fail(n=1000, status=status, method="POST")
                self.block(A)
                self.until_why(A, "pending: writing: " + text)
                self.f5.mend()
                self.until(A, seconds=30)
                self.unblock(A)
                self.until(seconds=30)
                self.f5.remove("stanch-v4-000")

    def test_the_breaker_opens_and_closes(self):
        self.start()
        self.block(A)
        self.until_why(A, "stored")
        self.f5.fail(n=10**6, status=503)
        lab.wait_for(lambda: self.lab.stanch_json("f5")["breaker"] != "closed", "it opens", 30)
        seen = len(self.f5.requests())
        self.block(B)
        lab.wait_for(lambda: len(self.f5.requests()) > seen, "a probe goes", 30)
        self.assertEqual({r["method"] for r in self.f5.requests()[seen:]}, {"GET"})  # it writes nothing
        self.assertIn("stanch_f5xc_breaker_open 1", self.metrics())
        self.f5.mend()
        self.until(A, B, seconds=60)
        lab.wait_for(lambda: self.lab.stanch_json("f5")["breaker"] == "closed", "it closes")

    def metrics(self):
        import http.client
        import socket
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.lab.path("run", "control.sock"))
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()

    def test_429_holds_everything(self):
        self.start()
        self.block(A)
        self.until_why(A, "stored")
        self.f5.fail(n=1, status=429, retry_after=2)
        lab.wait_for(lambda: self.f5.requests()[-1]["status"] == 429, "it is told")
        told = self.f5.requests()[-1]["at"]
        self.block(B, V6)
        lab.wait_for(lambda: "stored" in self.why(V6), "it goes on", 30)
        after = [r["at"] for r in self.f5.requests() if r["at"] > told]
        self.assertGreater(after[0] - told, 1.9)

    def test_within_the_tenants_limit(self):
        """Twelve at once, then one every 2.4 s: a tenant of 60 a minute and a burst of 15 never says 429."""
        self.f5.stop()
        self.f5 = F5XC(token="word", per_minute=60, burst=15)
        self.addCleanup(self.f5.stop)
        self.start(requests_per_minute=60, request_burst=12, reconcile_s=600)
        begun = time.monotonic()
        for i in range(1, 20):
            self.block(f"203.0.113.{i}")
        self.until(*self.many(19), seconds=60)
        self.assertNotIn(429, [r["status"] for r in self.f5.requests()])
        self.assertLessEqual(len(self.f5.requests()), 13 + time.monotonic() - begun)

    def test_what_was_lost_on_the_way_back_is_read(self):
        self.start()
        self.block(A)
        self.until_why(A, "stored")
        for how in ("late", "close"):
            with self.subTest(how):
                self.f5.fail(n=1, how=how, method="PUT")
                self.block(B)
                self.until_why(B, "stored", 30)
                self.unblock(B)
                self.until(A, seconds=30)

    def test_certificates_and_tokens_end(self):
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 5 * 86400))
        self.start(token_ends=f'"{day}"')
        lab.wait_for(lambda: "the token or certificate ends in 5 days" in self.warnings(), "it warns")

    def test_80_percent_alarms(self):
        self.start(set_size=2, max_sets=5)
        self.block(*self.many(7))
        self.until(*self.many(7), *["192.0.2.1"] * 3)
        self.assertNotIn("of 10 prefixes", self.warnings())
        self.block("203.0.113.8")
        lab.wait_for(lambda: "8 of 10 prefixes" in self.warnings(), "it warns at 80 %")


if __name__ == "__main__":
    unittest.main()
