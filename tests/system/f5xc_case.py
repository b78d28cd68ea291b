# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""A mirror and a stand-in for F5 XC: what the tests of the mirror share."""

import atexit
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import lab
from f5xc_client import F5XC

A, B, C = "203.0.113.7", "203.0.113.8", "203.0.113.9"
V6 = "2001:db8:5::7"
SET = "stanch-v4-000"
FAST = {"min_interval_ms": 50, "reconcile_s": 1, "requests_per_minute": 6000, "request_burst": 100}

PRISM = os.path.join(lab.ROOT, "tests", "peers", "node_modules", ".bin", "prism")
DOCUMENT = os.path.join(os.environ.get("STANCH_SHARED_DATA", os.path.join(lab.ROOT, "..", "shared", "data")),
                        "f5xc", "xc-openapi.json")


class Document:
    """Prism with F5's OpenAPI document, before a server that answers anything: what breaks the document is told by
    422. One for all tests of a process; None where Prism or the document is absent (test_f5xc_prism names that)."""

    one = None

    @classmethod
    def get(cls):
        if not cls.one and os.path.exists(PRISM) and os.path.exists(DOCUMENT):
            cls.one = cls()
        return cls.one

    def __init__(self):
        class Anything(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_GET = do_PUT = do_POST = do_DELETE = answer

        server = ThreadingHTTPServer(("127.0.0.1", 0), Anything)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.port = lab.free_port()
        self.process = subprocess.Popen(
            [shutil.which("node"), PRISM, "proxy", DOCUMENT, f"http://127.0.0.1:{server.server_port}", "--errors",
             "-h", "127.0.0.1", "-p", str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(self.process.kill)
        lab.wait_for(self.listens, "Prism listens", 60)

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def violations(self, requests):
        """Of the requests that a stand-in saw, each once: those that the document does not allow, and why."""
        found, seen = [], set()
        for request in requests:
            body = json.dumps(request["body"]) if request["body"] else None
            key = (request["method"], request["path"], body)
            if key in seen:
                continue
            seen.add(key)
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            connection.request(request["method"], request["path"], body,
                               {"Authorization": "APIToken word", "Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
            connection.close()
            if answer.status in (404, 405, 415, 422):
                found.append((*key, answer.status, text[:600]))
        return found


class MirrorCase(unittest.TestCase):
    def setUp(self):
        self.f5 = F5XC(token="word")
        self.addCleanup(self.f5.stop)
        self.lab = lab.Lab.bare()
        self.addCleanup(self.lab.close)

    def start(self, token="word", **more):
        self.lab.configure(self.lab.control_section(
            f5={"url": self.f5.url, "token": token, "more": FAST | more}))
        self.lab.start_control()

    def block(self, *what):
        done = self.lab.stanch("block", *what, "--reason", "a test")
        # 2, "differs": it is recorded, and no data plane runs here to apply it.
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)

    def unblock(self, what):
        self.assertIn(self.lab.stanch("unblock", what).returncode, (0, 2))

    def until(self, *prefixes, seconds=15):
        want = sorted([p if "/" in p else f"{p}/32" for p in prefixes] + ["192.0.2.1/32"])
        lab.wait_for(lambda: self.f5.prefixes() == want, f"F5 holds {want}, not {self.f5.prefixes()}", seconds)

    def why(self, what):
        return self.lab.stanch("why", what).stdout

    def until_why(self, what, text, seconds=15):
        lab.wait_for(lambda: text in self.why(what), f"why {what} says {text!r}: {self.why(what)}", seconds)

    def warnings(self):
        return "\n".join(self.lab.stanch_json("status")["warnings"])

    def status(self):
        return [x for x in self.lab.stanch_json("status")["followers"] if x["name"] == "f5xc"][0]

    def names(self):
        return [s["metadata"]["name"] for s in self.f5.sets()]

    def writes(self):
        return [r for r in self.f5.requests() if r["method"] in ("PUT", "POST")]

    def tearDown(self):
        # Whatever was done: what nobody listed still passes at F5.
        self.assertTrue(self.f5.passes("192.0.2.200"))
        # Whatever was sent: F5's document allows it.
        if Document.get():
            self.assertEqual(Document.get().violations(self.f5.requests()), [])

    def reload(self, **f5):
        self.lab.configure(self.lab.control_section(f5={"url": self.f5.url, "token": "word"} | f5))
        before = self.lab.log("control").count("read again")
        self.lab.processes[-1].send_signal(signal.SIGHUP)
        lab.wait_for(lambda: self.lab.log("control").count("read again") > before, "it is read again")

    def theirs(self, name=SET, **metadata):
        self.f5.put(name, {"metadata": {"name": name, "namespace": "system", **metadata},
                           "spec": {"ipv4_prefixes": [{"ipv4_prefix": "198.51.100.0/24"}]}})
