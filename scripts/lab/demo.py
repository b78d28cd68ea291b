#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The demonstration: from a closed case to a dropped packet, and back. See scripts/demo."""

import argparse
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "system"), os.path.join(ROOT, "tests", "peers")]
import lab as labs  # noqa: E402
from f5xc_client import F5XC  # noqa: E402
from thehive_client import TheHive  # noqa: E402

TARGET = labs.WORLD[0]
HOOK, ALICE = "demo-hook-word", "demo-alice-key"
UPLOAD_PORT = 8080
RATE = "20M"


class Story:
    """Tells each step, with its time, what was expected and what was seen."""

    def __init__(self, as_json):
        self.json, self.begun, self.failed, self.n = as_json, time.monotonic(), 0, 0

    def say(self, text=""):
        if not self.json:
            print(text, flush=True)

    def step(self, name, expected, seen, good):
        self.n += 1
        self.failed += not good
        at = round(time.monotonic() - self.begun, 3)
        if self.json:
            print(json.dumps({"step": self.n, "at_s": at, "name": name, "expected": expected,
                              "seen": seen, "good": good}), flush=True)
        else:
            print(f"{at:7.2f} s  {'ok  ' if good else 'FAIL'} {name}\n"
                  f"               {seen}" + ("" if good else f"\n               expected: {expected}"),
                  flush=True)
        return good


class Sink(threading.Thread):
    """A server outside that takes uploads and throws them away."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.server = lab.socket("outside", socket.AF_INET, socket.SOCK_STREAM)
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.server.bind(("", UPLOAD_PORT))
        self.server.listen(16)

    def run(self):
        while True:
            client, _ = self.server.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    @staticmethod
    def serve(client):
        with client:
            try:
                head = client.recv(65536).split(b"\r\n\r\n", 1)
                fields = dict(f.lower().split(b": ", 1) for f in head[0].split(b"\r\n")[1:] if b": " in f)
                if fields.get(b"expect"):
                    client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                left = int(fields.get(b"content-length", 0)) - len(head[1] if len(head) > 1 else b"")
                while left > 0:
                    got = client.recv(1 << 20)
                    if not got:
                        return
                    left -= len(got)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError:
                pass


class Watcher(threading.Thread):
    """Counts what really arrives outside for the target, from a packet socket of its own."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.sniffer = labs.Sniffer(lab)
        self.last, self.bytes = 0.0, 0

    def run(self):
        wanted = socket.inet_aton(TARGET)
        while True:
            select.select([self.sniffer.socket], [], [], 1)
            try:
                while True:
                    frame, address = self.sniffer.socket.recvfrom(200)
                    if frame[30:34] == wanted and address[2] != socket.PACKET_OUTGOING:
                        self.last = time.monotonic()
                        self.bytes += 1448
            except BlockingIOError:
                pass
            except OSError:
                return  # the namespace has gone


class Demo:
    def __init__(self, story, lab, hive, f5):
        self.story, self.lab, self.hive, self.f5 = story, lab, hive, f5
        self.watcher = Watcher(lab)
        self.file = lab.path("loot.db")

    def curl(self, size, limit=True):
        with open(self.file, "wb") as f:
            f.truncate(size)
        words = ["curl", "-sS", "-o", "/dev/null", "-T", self.file, "--connect-timeout", "2"]
        words += ["--limit-rate", RATE] if limit else []
        return self.lab.spawn("inside", *words, f"http://{TARGET}:{UPLOAD_PORT}/loot.db",
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def flows(self, seconds=0.5):
        before = self.watcher.bytes
        threading.Event().wait(seconds)
        return self.watcher.bytes - before

    def upload_runs(self):
        self.upload = self.curl(8 << 30)
        labs.wait_for(lambda: self.watcher.bytes > 1 << 20, "the upload reaches the outside", 15)
        rate = self.flows() * 2 / 1e6
        self.story.step("a host inside uploads a database with curl", "packets arrive outside",
                        f"about {rate:.0f} MB/s arrive at {TARGET}", rate > 0)

    def verdict(self):
        case = self.case = self.hive.case_create("Database leaves through web upload", field="enforce")
        self.hive.observable_create(case, TARGET, message="destination of the upload")
        asked = time.monotonic()
        self.hive.close(case, key=ALICE)
        decided = time.monotonic()
        stopped = labs.wait_for(
            lambda: self.watcher.last if time.monotonic() - self.watcher.last > 0.5 else 0,
            "the upload stops", 20)
        self.story.step("the analyst closes the case as a true positive (TheHive's API)",
                        "the running upload stops",
                        f"last packet outside {max(0.0, stopped - asked) * 1e3:.1f} ms after the verdict was sent "
                        f"(TheHive answered after {(decided - asked) * 1e3:.1f} ms)", stopped - asked < 5)
        code = self.upload.wait(20)
        self.story.step("the running upload", "curl fails",
                        f"curl ended with {code}: {self.upload.stderr.read().strip()}", code != 0)
        self.watcher.bytes = 0
        again = self.curl(1 << 20)
        code = again.wait(20)
        self.story.step("a new upload to the same address", "curl fails, nothing arrives outside",
                        f"curl ended with {code}, {self.watcher.bytes} octets arrived", code != 0 and self.watcher.bytes == 0)

    def explained(self):
        why = self.lab.stanch("why", TARGET)
        text = why.stdout.strip()
        self.story.step(f"stanch why {TARGET}", "names case, analyst, revision",
                        "\n               ".join(text.split("\n")), why.returncode == 0 and all(word in text for word in ("case 1", "alice", "revision")))
        status = self.lab.stanch("status", "--json")
        equal = status.returncode in (0, 2) and json.loads(status.stdout)
        plane = equal.get("dataplane", {}) if equal else {}
        self.story.step("what the data plane says it enforces", "the ledger's revision and digest",
                        json.dumps(plane.get("applied")), bool(plane.get("equal")))

    def mirrored(self):
        def prefixes():
            return [p for s in self.f5.sets() for p in s["spec"].get("ipv4_prefixes", [])
                    if p["ipv4_prefix"] == f"{TARGET}/32"]
        try:
            found = labs.wait_for(prefixes, "F5 XC has the prefix", 30)
        except TimeoutError as error:
            found = str(error)
        self.story.step("F5 Distributed Cloud's stand-in", f"{TARGET}/32 in our ip_prefix_set",
                        json.dumps(found), isinstance(found, list))

    def tried(self):
        def listed():
            done = self.lab.stanch("denials", "--json")
            return done.stdout if TARGET in done.stdout else ""
        labs.wait_for(listed, "the attempts are listed", 10)
        text = self.lab.stanch("denials").stdout.strip().split("\n")
        self.story.step("who tried: stanch denials", f"{labs.INSIDE} → {TARGET}",
                        "\n               ".join(text[:4]), any(labs.INSIDE in row for row in text))

    def withdrawn(self):
        asked = time.monotonic()
        self.hive.reopen(self.case)

        def upload():
            one = self.curl(1 << 20, limit=False)
            return one.wait(20) == 0
        labs.wait_for(upload, "an upload succeeds again", 30)
        self.story.step("the case is reopened", "traffic flows again",
                        f"an upload succeeded {time.monotonic() - asked:.2f} s after it", True)

    def tell(self):
        self.watcher.start()
        Sink(self.lab).start()
        labs.wait_for(lambda: (self.lab.stanch_json("status") or {}).get("dataplane", {}).get("equal"),
                      "the data plane has the ledger's list", 30)
        self.upload_runs()
        self.verdict()
        self.explained()
        self.mirrored()
        self.tried()
        self.withdrawn()


def stay(story, lab):
    sock = lab.path("run", "control.sock")
    story.say(f"""
The lab stays up. In another terminal, as root:

  export STANCH_SOCKET={sock}
  {labs.binary('stanch')} status
  {labs.binary('stanch')} block {labs.WORLD[1]} --reason "trying it"
  ip netns exec {lab.space('inside')} ping -c 3 {labs.WORLD[1]}
  {labs.binary('stanch')} denials -f
  {labs.binary('stanch')} unblock {labs.WORLD[1]}
  {labs.binary('stanch-dataplane')} ctl status --socket {lab.path('run', 'dataplane-ctl.sock')}

Ctrl-C ends it and cleans up.""")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


def run(story, once):
    f5 = F5XC(token="demo-f5-token")
    port = labs.free_port()
    with f5, TheHive(version=5, more_user=[f"alice@soc.example:{ALICE}"],
                     custom_field="stanch-action:string",
                     webhook_url=f"http://127.0.0.1:{port}/v1/hooks/thehive",
                     webhook_auth=f"bearer:{HOOK}") as hive, labs.Lab() as lab:
        lab.configure(
            lab.control_section(
                hive={"url": hive.url, "key": hive.key, "hook": HOOK},
                f5={"url": f5.url, "token": f5.token, "more": {"min_interval_ms": 1000}},
                listen=f"127.0.0.1:{port}"),
            reply="reset")
        story.say("Starting the data plane on veth pairs (AF_XDP) and the control plane …")
        try:
            lab.start_dataplane()
            lab.start_control()
            Demo(story, lab, hive, f5).tell()
        except (TimeoutError, RuntimeError) as error:
            story.step("the demonstration goes on", "no fault", str(error), False)
            story.say(lab.log("dataplane")[-3000:] + lab.log("control")[-3000:])
        if not once and not story.failed:
            stay(story, lab)


def main():
    parser = argparse.ArgumentParser(description="from a closed case to a dropped packet, and back")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    story = Story(args.json)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        run(story, args.once or args.json)
    except KeyboardInterrupt:
        return 130
    except (FileNotFoundError, PermissionError, RuntimeError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1
    if not args.json:
        print(f"{story.n} steps, {story.failed} failed")
    return 1 if story.failed else 0


if __name__ == "__main__":
    sys.exit(main())
