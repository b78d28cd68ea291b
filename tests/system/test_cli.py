#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""`stanch`, every subcommand, against a real stanch-control without a data plane; docs/api.md.

The build directory is $STANCH_BUILD, or build/ at the root. Needs no root.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("STANCH_BUILD", os.path.join(ROOT, "build"))
CONTROL = os.path.join(BUILD, "control", "stanch-control")
STANCH = os.path.join(BUILD, "control", "stanch")
PATIENCE_S = 10
PAUSE = threading.Event()  # never set
DONE, REFUSED, DIFFERS, USAGE, UNAVAILABLE = 0, 1, 2, 64, 69


@unittest.skipUnless(os.path.exists(STANCH), f"{STANCH} is not built")
class CommandLine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="stanch-cli.")
        cls.conf = os.path.join(cls.dir, "stanch.yaml")
        with open(cls.conf, "w", encoding="ascii") as out:
            out.write(f"control:\n  state_dir: {cls.dir}/state\n  run_dir: {cls.dir}/run\n")
        cls.log = open(os.path.join(cls.dir, "log"), "wb")
        cls.daemon = subprocess.Popen([CONTROL, "--config", cls.conf], stderr=cls.log)
        end = time.monotonic() + PATIENCE_S
        while cls.stanch("list")[0] != DONE:
            if time.monotonic() > end:
                raise AssertionError("stanch-control never answered")
            PAUSE.wait(0.01)

    @classmethod
    def tearDownClass(cls):
        cls.daemon.terminate()
        cls.daemon.wait(PATIENCE_S)
        cls.log.close()
        shutil.rmtree(cls.dir)

    @classmethod
    def stanch(cls, *words, given=None):
        done = subprocess.run(
            [STANCH, *words], capture_output=True, text=True, timeout=PATIENCE_S, input=given,
            env={**os.environ, "STANCH_SOCKET": os.path.join(cls.dir, "run", "control.sock")},
            check=False)
        return done.returncode, done.stdout, done.stderr

    def want(self, code, *words, given=None):
        got, out, err = self.stanch(*words, given=given)
        self.assertEqual(got, code, f"stanch {' '.join(words)}: {out}{err}")
        return out + err

    def json(self, code, *words):
        got, out, err = self.stanch(*words, "--json")
        self.assertEqual(got, code, f"stanch {' '.join(words)}: {out}{err}")
        return json.loads(out)

    def test_usage(self):
        self.want(USAGE, "nonsense")
        self.want(USAGE, "why")
        self.want(USAGE, "block", "192.0.2.1")
        self.want(USAGE, "block", "--reason", "x")
        self.want(USAGE, "status", "--force")
        self.want(USAGE, "held", "approve", "x", "--reason", "y")
        self.want(USAGE, "token", "create", "x")
        self.want(USAGE, "allow", "192.0.2.1")
        for word in ("status", "why", "block", "unblock", "allow", "pause", "resume", "monitor",
                     "held", "list", "denials", "protect", "audit", "sync", "check", "token", "preview",
                     "thehive", "top"):
            self.assertIn(f"usage: stanch {word}", self.want(DONE, word, "--help"))
            self.assertIn(f"\n  {word} ", self.want(DONE, "help"))

    def test_unavailable(self):
        self.want(UNAVAILABLE, "status", "--socket", os.path.join(self.dir, "none.sock"))

    def test_status(self):
        self.assertIn("not connected", self.want(DIFFERS))
        status = self.json(DIFFERS, "status")
        self.assertRegex(status["revision"], r"^\d+\.\d+$")
        self.assertFalse(status["dataplane"]["equal"])
        self.assertTrue(status["warnings"])

    def test_block_and_unblock(self):
        answer = self.json(DIFFERS, "block", "203.0.113.7", "--reason", "phishing", "--for", "1h")
        self.assertEqual(answer["results"][0]["result"], "ok")
        self.assertIn("recorded, not yet applied: ", answer["why"])
        why = self.json(DONE, "why", "203.0.113.7")
        self.assertTrue(why["listed"])
        self.assertEqual(why["claims"][0]["reason"], "phishing")
        self.assertIn("203.0.113.7 is to be denied by entry 203.0.113.7", why["verdict"])
        listed = self.json(DONE, "list", "--source", "operator", "--action", "enforce")
        self.assertIn("203.0.113.7", [claim["indicator"] for claim in listed["claims"]])
        listed = self.json(DONE, "list", "--entries")
        self.assertIn("203.0.113.7", [entry["indicator"] for entry in listed["entries"]])
        self.want(DONE, "unblock", "203.0.113.7", "--wait", "0")
        self.want(REFUSED, "unblock", "203.0.113.7")
        self.assertFalse(self.json(DONE, "why", "203.0.113.7")["listed"])

    def test_block_refused(self):
        self.assertIn("RFC 1918", self.want(REFUSED, "block", "10.0.0.1", "--reason", "x"))
        self.assertIn("shortest", self.want(REFUSED, "block", "198.0.0.0/8", "--reason", "x"))
        answer = self.json(REFUSED, "block", "198.51.100.1", "bad..name", "--reason", "x")
        self.assertEqual(answer["results"][0]["result"], "invalid")
        self.assertFalse(self.json(DONE, "why", "198.51.100.1")["listed"])
        self.want(REFUSED, "why", "bad..name")

    def test_block_file(self):
        lines = "".join(f"198.18.{i // 250}.{i % 250 + 1}  # row\n" for i in range(1100))
        self.want(DONE, "block", "--file", "-", "--reason", "list", "--wait", "0", given=lines)
        entries = {entry["indicator"] for entry in self.json(DONE, "list", "--entries")["entries"]}
        self.assertTrue({f"198.18.{i // 250}.{i % 250 + 1}" for i in range(1100)} <= entries)
        self.want(USAGE, "block", "--file", os.path.join(self.dir, "absent"), "--reason", "x")

    def test_monitor(self):
        self.want(DONE, "monitor", "evil.example", "--reason", "look", "--wait", "0")
        self.assertIn("watched", self.json(DONE, "why", "evil.example")["verdict"])
        self.assertIn("not enforced on the wire", self.want(DIFFERS, "status"))

    def test_allow(self):
        self.want(DONE, "block", "203.0.113.9", "--reason", "x", "--wait", "0")
        self.want(DONE, "allow", "203.0.113.9", "--reason", "portal", "--for", "2h")
        self.assertEqual(self.json(DONE, "allow")["allows"][0]["reason"], "portal")
        self.assertIn("allowed until", self.json(DONE, "why", "203.0.113.9")["verdict"])
        self.want(DONE, "allow", "--end", "203.0.113.9")
        self.want(REFUSED, "allow", "--end", "203.0.113.9")
        self.want(REFUSED, "allow", "203.0.113.9", "--reason", "x", "--for", "48h")

    def test_pause(self):
        self.want(USAGE, "pause")
        self.want(DONE, "pause", "--reason", "window", "--for", "15m")
        self.assertIn("PAUSED", self.want(DIFFERS, "status"))
        self.json(DONE, "resume")
        self.assertNotIn("PAUSED", self.want(DIFFERS, "status"))

    def test_held_protect(self):
        self.assertEqual(self.json(DONE, "held")["held"], [])
        self.want(REFUSED, "held", "approve", "4", "--reason", "x")
        self.want(REFUSED, "held", "reject", "4", "--reason", "x")
        self.want(DONE, "protect", "192.0.2.0/28", "--reason", "ours")
        self.want(REFUSED, "block", "192.0.2.3", "--reason", "x")
        self.assertIn("never denied", self.json(DONE, "why", "192.0.2.3")["verdict"])
        listed = self.json(DONE, "protect")["protections"]
        self.assertIn("192.0.2.0/28", [protection["indicator"] for protection in listed])
        self.want(DONE, "protect", "--end", "192.0.2.0/28", "--reason", "gone")
        self.want(REFUSED, "protect", "--end", "192.0.2.0/28", "--reason", "gone")

    def test_watch(self):
        self.assertEqual(self.json(DONE, "denials")["denials"], [])
        # Without a data plane nothing is begun, and nothing is audited as if it were.
        self.want(UNAVAILABLE, "sync")
        self.want(UNAVAILABLE, "sync", "--force", "--reason", "a test")
        self.want(USAGE, "sync", "--force")
        actions = [record["action"] for record in self.json(DONE, "audit")["records"]]
        self.assertNotIn("sync", actions)
        self.assertIn("intact", self.want(DONE, "audit", "--verify"))
        self.assertTrue(self.json(DONE, "audit", "--verify")["verify"]["intact"])

    def test_preview(self):
        self.want(USAGE, "preview")
        self.assertIn("no data plane is connected", self.want(UNAVAILABLE, "preview", "203.0.113.0/24"))
        self.assertIn("addresses only", self.want(REFUSED, "preview", "evil.example"))
        self.assertIn("error", self.json(UNAVAILABLE, "preview", "tcp/[2001:db8::1]:443"))
        self.want(REFUSED, "preview", "203.0.113.1/24")
        self.want(UNAVAILABLE, "top")

    def test_local(self):
        token = self.json(DONE, "token", "create", "x", "--role", "viewer", "--for", "90d")
        self.assertIn("x viewer ", token["line"])
        bad = os.path.join(self.dir, "bad.yaml")
        with open(bad, "w", encoding="ascii") as out:
            out.write("control:\n  nonsense: 1\n")
        self.assertIn("stanch-control: refused", self.want(REFUSED, "check", bad))

    def test_documented(self):
        import http.client
        import socket
        connection = http.client.HTTPConnection("stanch", timeout=PATIENCE_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(os.path.join(self.dir, "run", "control.sock"))
        connection.request("GET", "/v1")
        routes = json.loads(connection.getresponse().read())["routes"]
        connection.close()
        with open(os.path.join(ROOT, "docs", "api.md"), encoding="utf-8") as page:
            rows = set(re.findall(r"^\| (\w+) \| `([^`]+)` \| (\w+) \|", page.read(), re.M))
        served = {(route["method"], route["path"], route["role"]) for route in routes
                  if route["path"].startswith("/v1")}
        self.assertGreater(len(served), 20)
        self.assertEqual(served - rows, set())


if __name__ == "__main__":
    unittest.main()
