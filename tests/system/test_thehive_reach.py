# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""How TheHive is reached: TLS, proxies, organisations, roles, its clock, webhooks in disorder, recorded
ones, and `stanch thehive setup`.

The build directory is $STANCH_BUILD, or build/ at the root.
"""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from test_thehive import BUILD, CONTROL, GATEWAY, PATIENCE_S, ROOT, HiveCase, both, wait_for

STANCH = os.path.join(BUILD, "control", "stanch")


class Proxy:
    """Forwards what a client asks of an http:// server: one request a connection at a time."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.served = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError), client, client.makefile("rb") as asked:
            for line in iter(asked.readline, b""):
                method, url, _ = line.decode().split(" ")
                host, _, path = url.removeprefix("http://").partition("/")
                headers = {}
                for head in iter(asked.readline, b"\r\n"):
                    name, _, value = head.decode().partition(":")
                    headers[name.strip().lower()] = value.strip()
                body = asked.read(int(headers.get("content-length", 0)))
                onward = http.client.HTTPConnection(host, timeout=PATIENCE_S)
                onward.request(method, "/" + path, body or None, {
                    k: v for k, v in headers.items() if not k.startswith("proxy-")})
                answer = onward.getresponse()
                text = answer.read()
                total = answer.getheader("X-Total")
                client.sendall(
                    f"HTTP/1.1 {answer.status} {answer.reason}\r\nContent-Length: {len(text)}\r\n"
                    f"Content-Type: {answer.getheader('Content-Type')}\r\n".encode()
                    + (f"X-Total: {total}\r\n".encode() if total else b"") + b"\r\n" + text)
                onward.close()
                self.served += 1

    def close(self):
        self.server.close()


@unittest.skipUnless(os.path.exists(CONTROL), f"{CONTROL} is not built")
class Reach(HiveCase):
    @both
    def test_a_case_hidden_by_role_orphans(self, version):
        """Also where lists and queries answer [] for it; and once it is seen again, it counts."""
        lab, hive = self.lab(version)
        case, _ = lab.denied_case()
        other, _ = lab.denied_case("203.0.113.8")
        lab.wait_live("203.0.113.7", "203.0.113.8")
        lab.settled()
        hive.set(hide={GATEWAY: [case]})
        lab.stop()
        lab.start()
        wait_for("an orphan", lambda: lab.claims()["203.0.113.7"]["state"] == "orphaned")
        hive.patch(case, tags=["x"])  # hooks go on: restricted cases still notify
        lab.settled()
        self.assertEqual(lab.claims()["203.0.113.7"]["state"], "orphaned")
        self.assertEqual(lab.claims()["203.0.113.8"]["state"], "live")
        hive.set(hide={})
        lab.stop()
        lab.start()
        lab.wait_live("203.0.113.7", "203.0.113.8")
        self.assertEqual(lab.audit("claim.end"), [])

    def test_tls_with_a_ca_of_ones_own(self):
        folder = tempfile.mkdtemp(prefix="stanch-tls.")
        self.addCleanup(shutil.rmtree, folder)
        cert, key = (os.path.join(folder, n) for n in ("cert.pem", "key.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", key, "-out", cert], check=True, capture_output=True)
        lab, hive = self.lab(5, prefix="/soc", stand_in={"tls_cert": cert, "tls_key": key},
                             tls=f"{{ca_file: {cert}}}")
        case, _ = lab.denied_case()
        lab.wait_live("203.0.113.7")
        lab.reload(tls="{}")  # who is not trusted is not believed, and nothing ends
        wait_for("trouble", lambda: (lab.source()["last_error"] or {}).get("text"))
        hive.reopen(case)
        self.assertTrue(lab.live("203.0.113.7"))
        lab.reload(tls=f"{{ca_file: {cert}}}")
        lab.wait_live()

    def test_a_proxy_is_used(self):
        proxy = Proxy()
        self.addCleanup(proxy.close)
        lab, _ = self.lab(5, proxy=proxy.url)
        lab.denied_case()
        lab.wait_live("203.0.113.7")
        self.assertGreater(proxy.served, 3)

    def test_another_organisation_is_trouble(self):
        lab, hive = self.lab(5)
        lab.denied_case()
        lab.wait_live("203.0.113.7")
        lab.reload(organisation="elsewhere")
        wait_for("trouble", lambda: "403" in (lab.source()["last_error"] or {}).get("text", ""))
        self.assertTrue(lab.live("203.0.113.7"))

    @both
    def test_webhooks_doubled_late_and_in_any_order_end_alike(self, version):
        lab, hive = self.lab(version)
        case, _ = lab.denied_case()
        lab.wait_live("203.0.113.7")
        for how in ({"hook_double": 10}, {"hook_shuffle": 6}, {"hook_delay_ms": [100, 600]}):
            for last_is_closed in (False, True):
                with self.subTest(how=how, closed=last_is_closed):
                    hive.set(**how)
                    for _ in range(3):
                        (hive.reopen if last_is_closed else hive.close)(case)
                        (hive.close if last_is_closed else hive.reopen)(case)
                    hive.set(hook_double=0, hook_shuffle=0, hook_delay_ms=[0, 0])
                    lab.wait_live(*["203.0.113.7"] * last_is_closed)
                    lab.settled()
                    self.assertTrue(lab.live(*["203.0.113.7"] * last_is_closed))

    @both
    def test_a_full_listing_compares_whole_pages(self, version):
        """Cases that do not differ from the ledger cost a few requests a hundred of them."""
        lab, hive = self.lab(version)
        cases, observables = [], []
        for i in range(220):
            case = hive.case_create(f"Case {i}", field="enforce")
            observables.append([hive.observable_create(case, f"198.18.{j}.{i + 1}") for j in (0, 1)])
            cases.append(case)
        hive.close_all(cases)
        claims = {f"198.18.{j}.{i + 1}" for i in range(220) for j in (0, 1)}
        wait_for("all claims", lambda: lab.status()["counts"]["claims"] == len(claims), 60)
        lab.settled()

        def listed():
            lab.stop()
            hive.requests_forget()
            lab.start()
            lab.settled()
            return [r for r in hive.requests() if r["user"] == GATEWAY]

        hive.set(hook_lose=-1)
        hive.set(clock_step_ms=60000)  # so that they lie before what each listing of changes repeats
        hive.patch(hive.case_create("Later"), tags=["x"])
        hive.observable_create(hive.case_create("Later"), "203.0.113.8")
        listed()
        self.assertLess(len(listed()), 30)
        # Each of these is found by one listing, and costs what reading its case costs.
        hive.observable_patch(observables[0][0], ioc=False)
        hive.observable_delete(observables[110][1])
        hive.observable_create(cases[219], "203.0.113.7")  # who has it, the list does not say
        hive.observable_patch(observables[5][0], tags=["stanch:none"])
        hive.reopen(cases[150])
        hive.case_delete(cases[200])
        claims -= {"198.18.0.1", "198.18.1.111", "198.18.0.6", "198.18.0.151", "198.18.1.151"}
        self.assertLess(len(listed()), 80)
        found = lab.claims()
        self.assertEqual(set(found), claims | {"203.0.113.7"})
        self.assertEqual({i for i, c in found.items() if c["state"] != "live"},
                         {"198.18.0.201", "198.18.1.201"})

    def test_webhooks_bring_their_word_in_three_ways(self):
        lab, hive = self.lab(5)
        case, _ = lab.denied_case()
        lab.wait_live("203.0.113.7")
        for auth in ("basic:stanch:hook-word", "key:hook-word", "bearer:hook-word"):
            with self.subTest(auth=auth):
                hive.set(webhook_auth=auth)
                hive.reopen(case)
                lab.wait_live()
                hive.close(case)
                lab.wait_live("203.0.113.7")
        hive.call("DELETE", "/_peer/hooks")
        hive.set(webhook_auth="basic:stanch:guess")
        hive.reopen(case)
        wait_for("a refusal", lambda: {h["status"] for h in hive.hooks()} == {401})
        self.assertTrue(lab.live("203.0.113.7"))

    @both
    def test_thehives_clock_steps(self, version):
        """Cursors are by its clock; what they miss after a step back, a full listing finds."""
        lab, hive = self.lab(version, incremental_s=1, full_s=2)
        hive.set(hook_lose=-1, clock_step_ms=3600000)
        case, observable = lab.denied_case()
        lab.wait_live("203.0.113.7")
        hive.set(clock_step_ms=0)
        hive.observable_create(case, "203.0.113.8")
        lab.wait_live("203.0.113.7", "203.0.113.8")
        hive.observable_delete(observable)
        lab.wait_live("203.0.113.8")
        hive.set(clock_step_ms=-86400000)
        hive.reopen(case)
        lab.wait_live()
        lab.denied_case("203.0.113.9")
        lab.wait_live("203.0.113.9")

    def test_recorded_bodies_are_taken(self):
        folder = os.path.join(os.environ.get("STANCH_SHARED_DATA", os.path.join(
            os.path.dirname(ROOT), "shared", "data")), "thehive")
        if not os.path.isdir(folder):
            self.skipTest(f"{folder} is absent: no recorded body is replayed")
        lab, hive = self.lab(5)
        lab.denied_case()
        lab.wait_live("203.0.113.7")
        lab.settled()
        names = sorted(n for n in os.listdir(folder) if n.endswith(".json"))
        revision, hooks = lab.status()["revision"], lab.source()["hooks"]
        for name in names:
            with open(os.path.join(folder, name), encoding="utf-8") as body:
                self.assertEqual(lab.post_hook(body.read()), 200, name)
        lab.settled()
        source = lab.source()
        self.assertEqual((source["hooks"], source["hooks_malformed"]), (hooks + len(names), 0))
        self.assertGreater(source["reads"], 0)
        self.assertEqual(lab.status()["revision"], revision)  # none speaks of a case that is here
        self.assertTrue(lab.live("203.0.113.7"))
        print(f"{len(names)} recorded bodies replayed", file=sys.stderr)

    @both
    def test_setup_makes_the_field_and_names_permissions(self, version):
        lab, hive = self.lab(version, response_field="block-it")

        def setup(*words):
            done = subprocess.run([STANCH, "thehive", "setup", *words, "--json", "--socket",
                                   os.path.join(lab.dir, "run", "control.sock")],
                                  capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            return done.returncode, json.loads(done.stdout or "{}"), done.stderr

        hive.set(deny={GATEWAY: ["manageCustomField", "manageObservable"]})
        code, answer, error = setup()
        self.assertIn("field", answer, error)
        self.assertEqual((code, answer["field"]["state"]), (1, "missing"))
        self.assertIn("manageCustomField", answer["field"]["why"])
        self.assertEqual(answer["account"], GATEWAY)
        held = {p["name"]: p["held"] for p in answer["permissions"]}
        self.assertEqual(held["manageObservable"], False)
        self.assertEqual(held["manageCase"], True)
        self.assertEqual(held["manageComment" if version == 5 else "manageTask"], True)
        hive.set(deny={})
        self.assertEqual(setup("soc")[1]["field"]["state"], "created")
        self.assertEqual(setup("soc")[:2][0], 0)
        self.assertEqual(setup("soc")[1]["field"]["state"], "there")
        case = hive.case_create("With it", customFields={"block-it": "enforce"})
        hive.observable_create(case, "203.0.113.7")
        hive.close(case)
        lab.wait_live("203.0.113.7")
        self.assertEqual(setup("other")[0], 1)
        hive.fail("500", n=1, path="user/current", user=GATEWAY)
        code, answer, _ = setup()
        self.assertEqual((code, answer["field"]["state"]), (1, "unknown"))
        self.assertIn("500", answer["field"]["why"])

    def test_setup_refuses_a_field_of_another_type(self):
        lab, hive = self.lab(5, response_field="score")
        hive.call("POST", "/api/v1/customField", {"name": "score", "displayName": "s", "group": "g",
                                                  "description": "d", "type": "integer"})
        answer = lab.call("POST", "/v1/thehive/setup", {})
        self.assertEqual((answer["good"], answer["field"]["state"]), (False, "of another type"))


if __name__ == "__main__":
    unittest.main()
