# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""stanch-control as a process: start, lock, reload, tokens, readiness, stop.

The build directory is $STANCH_BUILD, or build/ at the root.
"""

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("STANCH_BUILD", os.path.join(ROOT, "build"))
CONTROL = os.path.join(BUILD, "control", "stanch-control")
PATIENCE_S = 10
PAUSE = threading.Event()  # never set


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("stanch", timeout=PATIENCE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(self.path)


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        PAUSE.wait(0.01)
    raise AssertionError(f"never came: {what}")


@unittest.skipUnless(os.path.exists(CONTROL), f"{CONTROL} is not built")
class ControlDaemon(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="stanch-control.")
        self.sock = os.path.join(self.dir, "run", "control.sock")
        self.conf = os.path.join(self.dir, "stanch.yaml")
        self.tokens = os.path.join(self.dir, "tokens")
        self.log = os.path.join(self.dir, "log")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.tokens_write({"look": "viewer"})
        self.conf_write()
        self.daemons = []

    def tearDown(self):
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.kill()
            daemon.wait()
        shutil.rmtree(self.dir)

    def tokens_write(self, tokens):
        with open(self.tokens, "w", encoding="ascii") as out:
            for name, role in tokens.items():
                digest = hashlib.sha256(f"{name}-secret".encode()).hexdigest()
                out.write(f"{name} {role} never sha256:{digest}\n")
        os.chmod(self.tokens, 0o640)

    def conf_write(self, more=""):
        with open(self.conf, "w", encoding="ascii") as out:
            out.write(f"control:\n  state_dir: {self.dir}/state\n  run_dir: {self.dir}/run\n"
                      f"  listen: 127.0.0.1:{self.port}\n  tokens_file: {self.tokens}\n{more}")

    def start(self):
        with open(self.log, "ab") as log:
            daemon = subprocess.Popen([CONTROL, "--config", self.conf], stderr=log)
        self.daemons.append(daemon)
        return daemon

    def logged(self):
        with open(self.log, encoding="utf-8") as log:
            return log.read()

    def ask(self, connection, path, token=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def ask_unix(self, path):
        return self.ask(UnixConnection(self.sock), path)

    def ask_tcp(self, path, token=None):
        return self.ask(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S), path, token)

    def ready(self):
        wait_for("readiness", lambda: self.ask_unix("/healthz")[0] == 200)

    def test_life(self):
        daemon = self.start()
        self.ready()
        status, text = self.ask_unix("/metrics")
        self.assertEqual(status, 200)
        self.assertTrue(text.endswith("# EOF\n"))
        self.assertIn("stanch_revision_number 1\n", text)
        # Over TCP: health for everybody without details, metrics for a token.
        self.assertEqual(self.ask_tcp("/healthz"), (200, '{"status":"ok"}'))
        components = json.loads(self.ask_tcp("/readyz")[1])["components"]
        self.assertEqual(components["ledger"], "ok")
        self.assertLessEqual(set(components.values()), {"ok", "not ok"})
        self.assertEqual(self.ask_tcp("/metrics")[0], 401)
        self.assertEqual(self.ask_tcp("/metrics", "look-secret")[0], 200)
        daemon.send_signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(PATIENCE_S), 0)
        self.assertFalse(os.path.exists(self.sock))

    def test_two(self):
        first = self.start()
        self.ready()
        second = self.start()
        self.assertEqual(second.wait(PATIENCE_S), 1)
        self.assertIn("another stanch-control uses this directory", self.logged())
        self.assertEqual(self.ask_unix("/healthz")[0], 200)
        # After a kill -9 nothing is in the way: neither lock nor socket.
        first.kill()
        first.wait()
        self.start()
        self.ready()

    def test_reload(self):
        daemon = self.start()
        self.ready()
        self.assertEqual(self.ask_tcp("/metrics", "new-secret")[0], 401)
        self.tokens_write({"new": "viewer"})
        daemon.send_signal(signal.SIGHUP)
        wait_for("the new token", lambda: self.ask_tcp("/metrics", "new-secret")[0] == 200)
        self.assertEqual(self.ask_tcp("/metrics", "look-secret")[0], 401)
        # A configuration with an error is not taken; the daemon goes on.
        self.conf_write("  brakes: {shortest_prefix_v4: 99}\n")
        daemon.send_signal(signal.SIGHUP)
        wait_for("the message", lambda: "the running configuration stays" in self.logged())
        self.assertIn("control.brakes.shortest_prefix_v4: must be from 1 to 32", self.logged())
        self.assertEqual(self.ask_tcp("/metrics", "new-secret")[0], 200)
        self.conf_write("  protect: {networks: [192.0.2.0/24]}\n  http: {deadline_ms: 900}\n")
        daemon.send_signal(signal.SIGHUP)
        wait_for("the networks", lambda: "1 networks and 0 names" in self.logged())
        wait_for("the restart", lambda: "tls and http: a change needs a restart" in self.logged())
        # A broken file of tokens: the old ones stay.
        with open(self.tokens, "a", encoding="ascii") as out:
            out.write("broken\n")
        daemon.send_signal(signal.SIGHUP)
        wait_for("the place", lambda: f"{self.tokens}:2:1: " in self.logged())
        self.assertEqual(self.ask_tcp("/metrics", "new-secret")[0], 200)

    def test_check(self):
        good = subprocess.run([CONTROL, "--check", self.conf], capture_output=True, check=False)
        self.assertEqual((good.returncode, good.stderr), (0, b""))
        self.conf_write("  stat_dir: /x\n")
        bad = subprocess.run([CONTROL, "--check", self.conf], capture_output=True, check=False)
        self.assertEqual(bad.returncode, 1)
        self.assertIn(f"{self.conf}:6:3: Unexpected key: stat_dir".encode(), bad.stderr)

    def test_notify(self):
        path = os.path.join(self.dir, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(PATIENCE_S)
            environment = dict(os.environ, NOTIFY_SOCKET=path, WATCHDOG_USEC="200000")
            with open(self.log, "ab") as log:
                daemon = subprocess.Popen(
                    [CONTROL, "--config", self.conf], stderr=log, env=environment)
            self.daemons.append(daemon)

            def heard(word):
                while True:
                    text = notify.recv(1000).decode()
                    if text.startswith(word):
                        return text

            heard("READY=1")
            heard("WATCHDOG=1")
            daemon.send_signal(signal.SIGHUP)
            self.assertIn("MONOTONIC_USEC=", heard("RELOADING=1"))
            heard("READY=1")
            daemon.send_signal(signal.SIGTERM)
            heard("STOPPING=1")
            self.assertEqual(daemon.wait(PATIENCE_S), 0)


if __name__ == "__main__":
    unittest.main()
