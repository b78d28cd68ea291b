# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""From a verdict in TheHive to the wire and to F5 XC: scripts/bench thehive.

The configuration as shipped, but for the brake on new claims, which a thousand verdicts would meet. Probes
(tests/bench/probe.c) leave every 50 microseconds; the time of a drop is that of sending the first probe that did not
arrive. Everything runs on this machine: the stand-ins for TheHive and F5 XC are part of what is measured.
"""

import asyncio
import http.client
import json
import mmap
import os
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import threading
import time

import bench_redis
import lab as labs
from f5xc_client import F5XC
from figures import ROOT, SMALLER, binary, progress, sized, skipped, tell
from redis_peer import Redis
from thehive_client import TheHive

INTERVAL_US = 50
TIMES = 1 << 20
STILL_S = 0.1  # nothing arrives for so long: it is dropped
BRAKE = "  brakes: {case_claims_per_minute: 1000000}\n"
WORD = "bench-word"
NODE_RED = os.path.join(ROOT, "tests", "peers", "node-red")


def rounds(many):
    return many if SMALLER == 1 else max(3, many // 100)


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


class Probe:
    """Datagrams every 50 microseconds to one address after the other."""

    def __init__(self, lab):
        self.lab = lab
        path = lab.path("probe")
        self.process = lab.spawn(None, binary("probe"), path, lab.space("inside"), lab.space("outside"), "eth0",
                                 str(INTERVAL_US), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdout.readline()
        with open(path, "r+b") as f:
            self.words = memoryview(mmap.mmap(f.fileno(), 0)).cast("Q")

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)

    def sent(self):
        return self.words[1]

    def seen(self):
        return self.words[2]

    def time_of(self, number):
        return self.words[16 + number % TIMES] / 1e9

    def aim(self, address):
        self.words[0] = struct.unpack("<I", socket.inet_aton(address))[0]
        mark = self.sent()
        labs.wait_for(lambda: self.seen() > mark + 3, "the probes arrive", 10)

    def dropped(self, seconds=20):
        """The time of the first probe that did not arrive."""
        deadline, seen, since = time.monotonic() + seconds, 0, 0.0
        while True:
            now = time.monotonic()
            if self.seen() != seen:
                seen, since = self.seen(), now
            elif now - since > STILL_S and self.sent() > seen + 400:
                return self.time_of(seen + 1)
            if now > deadline:
                raise TimeoutError("the probes do not stop")
            time.sleep(0.002)  # poll

    def forwarded(self, mark, seconds=5):
        """The time of the first probe after number `mark` that arrived again."""
        labs.wait_for(lambda: self.words[3] > mark, "the probes arrive again", seconds)
        return self.time_of(self.words[3])


class Bench:
    """TheHive's stand-in, both daemons, a wire between namespaces."""

    def __init__(self, f5=None, capacity=100000, plane=True, members=0, **more):
        self.port = labs.free_port()
        self.hook = f"http://127.0.0.1:{self.port}/v1/hooks/thehive"
        self.hive = TheHive(version=5, webhook_url=self.hook, custom_field="stanch-action:string",
                            webhook_auth=f"bearer:{WORD}", more_user=["gateway:gateway-key"])
        self.lab = labs.Lab() if plane else labs.Lab.bare()
        if plane:
            self.lab.build()
            self.lab.ip("route", "add", "local", "198.18.0.0/15", "dev", "lo", name="outside")
        self.redis, extra = None, BRAKE + f"  ledger: {{max_entries: {capacity}}}\n"
        if members:
            self.redis = Redis(self.lab.path("redis"))
            extra += f"""  redis:
    - name: feeds
      address: {self.redis.socket}
      user: stanch
      password_file: {self.lab.secret('redis.password', 'change-me-stanch')}
      lists:
        - {{name: bad, key: 'blocklist:bad', refresh_s: 3600, max_members: {2 * members}}}
"""
        self.lab.configure(self.lab.control_section(
            hive={"url": self.hive.url, "key": "gateway-key", "hook": WORD, "more": more}, f5=f5,
            listen=f"127.0.0.1:{self.port}", extra=extra), idle="poll", capacity=capacity,
            memory=256 + capacity * 32 // 1000000)
        self.plane = self.lab.start_dataplane() if plane else None
        self.control = None
        self.number = 0

    def start(self):
        self.control = self.lab.start_control()
        if self.plane:
            labs.wait_for(lambda: self.lab.ctl_status()["list"]["origin"] == "control", "control's list", 20)
        labs.wait_for(lambda: self.source().get("reconciled"), "TheHive is listed", 20)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.redis:
            self.redis.end()
        self.lab.close()
        self.hive.stop()

    def source(self):
        return self.lab.stanch_json("status")["sources"][0]

    def case(self):
        """An open case with one observable, and the address in it."""
        self.number += 1
        address = f"198.18.{self.number >> 8}.{self.number & 255}"
        case = self.hive.case_create(f"bench {self.number}", field="enforce")
        self.hive.observable_create(case, address)
        return case, address

    def verdict(self, probe, withdraw=True, of=None):
        """Seconds from the verdict to the first drop, and from its withdrawal to the first probe that passes."""
        case, address = of or self.case()
        probe.aim(address)
        asked = time.monotonic()
        self.hive.close(case)
        drop = max(0.0, probe.dropped() - asked)
        if not withdraw:
            return drop, 0.0
        mark, asked = probe.sent(), time.monotonic()
        self.hive.reopen(case)
        return drop, max(0.0, probe.forwarded(mark) - asked)


def row(case):
    """A row that cannot be measured is told as skipped, and the next one goes on."""
    def wrap(function):
        def run(*words):
            try:
                function(*words)
            except (OSError, RuntimeError, TimeoutError, http.client.HTTPException) as error:
                skipped("thehive", case, f"{type(error).__name__}: {error}"[:200])
            progress("")
        return run
    return wrap


def many(bench, probe, n, what, stalls_max=0):
    """Milliseconds. Where the machine itself stood still, which looks like a drop, the round is made again."""
    drops, forwards, stalls = [], [], 0
    while len(drops) < n:
        try:
            drop, forward = bench.verdict(probe)
        except TimeoutError:
            stalls += 1
            if stalls > max(3, n // 50, stalls_max):
                raise
            continue
        drops.append(drop * 1e3)
        forwards.append(forward * 1e3)
        progress(f"{what} {len(drops)} of {n}")
    return drops, forwards


@row("verdict-to-drop")
def shipped():
    with Bench() as bench:
        probe = Probe(bench.lab)
        drops, forwards = many(bench, probe, rounds(1000), "verdict")
        probe.end()
    tell("thehive", "verdict-to-drop", statistics.median(drops), "ms")
    tell("thehive", "verdict-to-drop-p99", percentile(drops, 0.99), "ms")
    tell("thehive", "withdraw-to-forward", statistics.median(forwards), "ms")
    tell("thehive", "withdraw-to-forward-p99", percentile(forwards, 0.99), "ms")


class Loads(threading.Thread):
    """A list of Redis, exchanged for another one of its size again and again: read, compared, approved, committed and
    sent to the data plane."""

    def __init__(self, bench, members):
        super().__init__(daemon=True)
        self.lab, self.redis, self.members = bench.lab, bench.redis, members
        self.go, self.n, self.error = True, 0, None
        for number in (0, 1):
            progress(f"publishing list {number}")
            first = number * members
            self.redis.many("SADD", f"blocklist:{number}", bench_redis.members(first, first + members))

    def publish(self, number):
        self.redis.cli("COPY", f"blocklist:{number}", "blocklist:bad", "REPLACE", user="admin")
        self.redis.cli("HSET", "blocklist:bad:meta", "version", self.n + 1, "count", self.members)
        self.lab.stanch("lists", "read", "bad")

    def approved(self):
        for held in (self.lab.stanch_json("held") or {"held": []})["held"]:
            self.lab.stanch("held", "approve", str(held["id"]), "--reason", "a bench's list")

    def loaded(self, number):
        """The data plane has that one, and the other no more."""
        self.approved()
        entries = (self.lab.ctl_status() or {"list": {}})["list"].get("entries", 0)
        if not self.members <= entries < self.members + 1000:
            return False
        told = self.lab.stanch_json("why", next(bench_redis.members(number * self.members, number * self.members + 1)))
        return ((told or {}).get("dataplane") or {}).get("present")

    def run(self):
        try:
            while self.go:
                self.publish(self.n % 2)
                while self.go and not self.loaded(self.n % 2):
                    time.sleep(0.25)  # poll
                self.n += self.go
        except (OSError, RuntimeError) as error:
            self.error = error


@row("verdict-to-drop-p99-under-sync")
def under_sync():
    """All the while a list of 1,000,000 members is loaded: first into an empty ledger, then in place of another."""
    members = sized(1000000)
    with Bench(capacity=2 * members + 100000, members=members) as bench:
        loads, probe = Loads(bench, members), Probe(bench.lab)
        loads.start()
        drops, forwards = many(bench, probe, rounds(300), "verdict while the list loads", 30)
        loads.go = False
        loads.join(60)
        probe.end()
    if loads.error:
        raise loads.error
    tell("thehive", "verdict-to-drop-p99-under-sync", percentile(drops, 0.99), "ms", lists=loads.n)
    tell("thehive", "withdraw-to-forward-p99-under-sync", percentile(forwards, 0.99), "ms", lists=loads.n)


@row("verdict-to-drop-realistic")
def realistic():
    with Bench() as bench:
        probe = Probe(bench.lab)
        bench.hive.set(hook_delay_ms=[300, 1200], index_delay_ms=1000)
        bench.hive.fail("slow", n=1 << 30, path="/api/", ms=20)
        drops, cases = [], [bench.case() for _ in range(rounds(100))]
        made = time.monotonic()  # analysts close what the index has long had
        labs.wait_for(lambda: time.monotonic() > made + 3, "the index", 10)
        for i, case in enumerate(cases):
            drops.append(bench.verdict(probe, withdraw=False, of=case)[0] * 1e3)
            progress(f"verdict, late hooks, {i + 1}")
        probe.end()
    tell("thehive", "verdict-to-drop-realistic", statistics.median(drops), "ms")
    tell("thehive", "verdict-to-drop-realistic-p99", percentile(drops, 0.99), "ms")


@row("hooks-lost")
def hooks_lost():
    """Closed all over the period of the listing; here seen by the data plane's own lookup, every 50 ms."""
    period = 30 if SMALLER == 1 else 2  # as shipped
    with Bench(incremental_s=period) as bench:
        bench.hive.set(hook_lose=-1)
        asked, times, end = {}, [], time.monotonic() + 5 * period
        total, next_at = rounds(100), time.monotonic()
        while len(times) < total and time.monotonic() < end:
            if len(asked) + len(times) < total and time.monotonic() >= next_at:
                case, address = bench.case()
                next_at = time.monotonic() + 2 * period / total
                asked[address] = time.monotonic()
                bench.hive.close(case)
            for address in list(asked):
                told = bench.lab.stanch_json("why", address) or {}
                if (told.get("dataplane") or {}).get("present"):
                    times.append((time.monotonic() - asked.pop(address)) * 1e3)
            progress(f"hooks lost: {len(times)} of {total}")
            time.sleep(0.05)  # poll
    if len(times) < total:
        raise TimeoutError(f"only {len(times)} of {total} verdicts were found")
    tell("thehive", "hooks-lost-median", statistics.median(times), "ms")
    tell("thehive", "hooks-lost", percentile(times, 0.99), "ms")


def hook_of(case):
    return json.dumps({"_type": "Audit", "action": "update", "objectType": "Case", "objectId": case, "rootId": case,
                       "requestId": f"bench {case}", "_createdBy": "analyst",
                       "details": {"stage": "Closed", "status": "TruePositive"},
                       "object": {"_id": case, "_type": "Case", "stage": "Closed", "status": "TruePositive"},
                       "organisation": {"organisation": "o", "organisationId": "~2"}}).encode()


def request_of(port, path, body):
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {WORD}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


@row("hook-answer-1000-closures-p99")
def closures():
    """1,000 webhooks, 200 at a time, each on a connection of its own; then all are enforced."""
    total = rounds(1000)
    with Bench() as bench:
        bench.hive.set(webhook_url=None)
        cases = [bench.case() for _ in range(total)]
        bench.hive.close_all([case for case, _ in cases])
        times, refused = [], []

        async def one(gate, body):
            async with gate:
                begun = time.monotonic()
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
                    writer.write(request_of(bench.port, "/v1/hooks/thehive", body))
                    line = await reader.readline()
                    writer.close()
                except OSError:
                    line = b""
                times.append((time.monotonic() - begun) * 1e3)
                if b" 200 " not in line:
                    refused.append(line)

        async def everything():
            gate = asyncio.Semaphore(200)
            await asyncio.gather(*[one(gate, hook_of(case)) for case, _ in cases])

        asyncio.run(everything())
        begun = time.monotonic()
        labs.wait_for(lambda: bench.lab.ctl_status()["list"]["entries"] >= total, "all are enforced", 120)
        after = time.monotonic() - begun
    tell("thehive", "hook-answer-1000-closures-p99", percentile(times, 0.99), "ms", refused=len(refused))
    tell("thehive", "hook-answer-1000-closures-median", statistics.median(times), "ms")
    tell("thehive", "enforced-after-1000-closures", after, "s")


# --- to F5 XC, against Node-RED

class NodeRed:
    """The same job as a flow; raises why it cannot run."""

    def __init__(self, hive, f5, name):
        red = os.path.join(NODE_RED, "node_modules", "node-red", "red.js")
        if not shutil.which("node") or not shutil.which("npm"):
            raise RuntimeError("node and npm are missing: run scripts/setup bench")
        if not os.path.exists(red) and SMALLER > 1:
            raise RuntimeError("node-red is not installed, and a short look does not install it")
        if not os.path.exists(red):
            progress("installing Node-RED")
            done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=NODE_RED, capture_output=True,
                                  text=True, timeout=400)
            if done.returncode:
                raise RuntimeError("npm cannot install node-red: " + done.stderr.strip().split("\n")[-1])
        self.port, self.folder = labs.free_port(), tempfile.mkdtemp(prefix="stanch-node-red.")
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.process = subprocess.Popen(
            ["node", red, "-s", os.path.join(NODE_RED, "settings.js"), "-u", self.folder],
            stdout=self.log, stderr=self.log, env=os.environ | {
                "PORT": str(self.port), "FLOW": os.path.join(NODE_RED, "flow.json"), "HIVE_URL": hive.url,
                "HIVE_KEY": "gateway-key", "F5_URL": f5.url, "F5_TOKEN": f5.token, "F5_SET": name})
        labs.wait_for(self.answers, "Node-RED listens", 60)

    def answers(self):
        if self.process.poll() is not None:
            with open(self.log.name, encoding="utf-8") as f:
                raise RuntimeError("Node-RED ended: " + f.read()[-200:])
        try:
            return post(self.port, "/hook", hook_of("~0")) == 200
        except OSError:
            return False

    def end(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
        shutil.rmtree(self.folder)


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, {"Authorization": f"Bearer {WORD}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def set_create(f5, name):
    connection = http.client.HTTPConnection("127.0.0.1", f5.port, timeout=10)
    connection.request("POST", "/api/config/namespaces/system/ip_prefix_sets", json.dumps(
        {"metadata": {"name": name, "namespace": "system"},
         "spec": {"ipv4_prefixes": [{"ipv4_prefix": "192.0.2.1/32"}]}}),
        {"Authorization": "APIToken " + f5.token, "Content-Type": "application/json"})
    if connection.getresponse().status != 200:
        raise RuntimeError("the stand-in for F5 XC takes no set")
    connection.close()


def to_f5_rounds(bench, ports, n):
    """Alternating; hook's time by address and whose it was."""
    sent = {}
    for i in range(n):
        for whose, (port, path) in ports.items():
            case, address = bench.case()
            bench.hive.close(case)
            sent[address] = (whose, time.time())
            post(port, path, hook_of(case))
            time.sleep(0.15)  # poll: undisturbed, looked at afterwards
        progress(f"verdict to F5 XC {i + 1} of {n}")
    return sent


@row("verdict-to-f5")
def to_f5():
    with F5XC(token="f5-word") as f5:
        more = {"min_interval_ms": 1, "requests_per_minute": 60000, "request_burst": 1000}
        with Bench(f5={"url": f5.url, "token": f5.token, "more": more}, plane=False, incremental_s=900) as bench:
            bench.hive.set(webhook_url=None)
            ports, red, why = {"ours": (bench.port, "/v1/hooks/thehive")}, None, ""
            try:
                set_create(f5, "node-red-v4")
                red = NodeRed(bench.hive, f5, "node-red-v4")
                ports["theirs"] = (red.port, "/hook")
            except (RuntimeError, OSError, TimeoutError, subprocess.TimeoutExpired) as error:
                why = str(error)
            sent = to_f5_rounds(bench, ports, rounds(300))
            if red:
                red.end()
            found = {"ours": {}, "theirs": {}}
            for request in f5.requests():
                if request["method"] != "PUT":
                    continue
                whose = "theirs" if "node-red" in request["path"] else "ours"
                for prefix in json.dumps(request["body"]).split('"'):
                    address = prefix.split("/")[0]
                    if sent.get(address, ("", 0))[0] == whose:
                        found[whose].setdefault(address, (request["at"] - sent[address][1]) * 1e3)
    n = len([a for a, (whose, _) in sent.items() if whose == "ours"])
    if len(found["ours"]) < n:
        raise RuntimeError(f"only {len(found['ours'])} of {n} came to F5 XC's stand-in")
    ours, theirs = list(found["ours"].values()), list(found["theirs"].values())
    if len(theirs) < n:
        skipped("thehive", "node-red", why or f"Node-RED put {len(theirs)} of {n}")
        tell("thehive", "verdict-to-f5", statistics.median(ours), "ms")
        tell("thehive", "verdict-to-f5-p99", percentile(ours, 0.99), "ms")
        return
    for part, of in (("", statistics.median), ("-p99", lambda values: percentile(values, 0.99))):
        tell("thehive", "verdict-to-f5" + part, of(ours), "ms", "Node-RED", of(theirs), of(theirs) / of(ours))


# --- a large TheHive

@row("listing-100k")
def listing():
    """A fresh gateway; 100,000 closed true positives with ten observables each, of which each twentieth denies; from
    control's start to the end of its first listing, and the most memory that control had. The pace is lifted: as shipped it
    is 2 requests a second, so that it takes half as many seconds as `requests` says."""
    bench = Bench(plane=False, max_per_second=1000)
    try:
        bench.hive.set(webhook_url=None)
        progress("making cases")
        bench.hive.fill(sized(100000), observables=10, deny=20)
        begun = time.monotonic()
        bench.control = bench.lab.start_control()
        labs.wait_for(lambda: time.sleep(0.1) or bench.source().get("reconciled"), "TheHive is listed", 600)  # poll
        seconds = time.monotonic() - begun
        requests = len([r for r in bench.hive.requests() if r["user"] == "gateway"])
        with open(f"/proc/{bench.control.pid}/status", encoding="ascii") as f:
            peak = next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmHWM:"))
    finally:
        bench.__exit__()
    tell("thehive", "listing-100k", seconds, "s", requests=requests)
    tell("thehive", "listing-100k-memory", peak, "MiB")


def thehive():
    """Some 12 minutes."""
    for one in (shipped, under_sync, to_f5, realistic, hooks_lost, closures, listing):
        one()
