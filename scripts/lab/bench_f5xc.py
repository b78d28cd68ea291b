# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""scripts/bench f5xc: from a block to its prefix read back from F5's stand-in, and the requests that it takes."""

import contextlib
import os
import random
import shutil
import socket
import statistics
import subprocess
import time

import lab as labs
from f5xc_client import F5XC
from figures import ROOT, SMALLER, progress, sized, skipped, tell

PRISM = os.path.join(ROOT, "tests", "peers", "node_modules", ".bin", "prism")
DOCUMENT = os.path.join(os.environ.get("STANCH_SHARED_DATA", os.path.join(ROOT, "..", "shared", "data")),
                        "f5xc", "xc-openapi.json")
FAST = {"requests_per_minute": 60000, "request_burst": 1000, "min_interval_ms": 50}


@contextlib.contextmanager
def mirror(url=None, f5=None, **more):
    """A stand-in, and a control that mirrors to it; `more` keys of f5xc, else its defaults."""
    peer = f5 or F5XC(token="word")
    gateway = labs.Lab.bare()
    try:
        configure(gateway, url or peer.url, more)
        gateway.start_control()
        yield peer, gateway
    finally:
        gateway.close()
        peer.stop()


def configure(gateway, url, more):
    gateway.configure(gateway.control_section(f5={"url": url, "token": "word", "more": more}))


def block(gateway, *words):
    gateway.stanch("block", *words, "--reason", "bench", "--wait", "0")


def block_many(gateway, addresses):
    with open(gateway.path("many"), "w", encoding="ascii") as f:
        f.write("\n".join(addresses) + "\n")
    block(gateway, "--file", gateway.path("many"))


def address(number):
    return f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def equal(gateway, n):
    status = gateway.stanch_json("f5")
    return status["state"] == "equal" and status["stored"] == n


def visible(requests, asked):
    """ms from each block to the end of the first reading of a set after the write that brought it there."""
    written, times = {}, {}
    for r in requests:
        name = r["path"].rsplit("/", 1)[-1].split("?")[0]
        if r["method"] in ("PUT", "POST") and r["status"] == 200:
            there = {row["ipv4_prefix"] for row in r["body"].get("spec", {}).get("ipv4_prefixes", [])}
            written.setdefault(r["body"]["metadata"]["name"], set()).update(there)
        elif r["method"] == "GET" and r["status"] == 200:
            for prefix in written.get(name, ()):
                times.setdefault(prefix, r["at"])
    return [(times[f"{n}/32"] - at) * 1e3 for n, at in asked.items() if f"{n}/32" in times]


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def one_by_one(gateway, rounds, first, gap):
    rng, asked = random.Random(first), {}
    for i in range(rounds):
        name = address(first + i)
        asked[name] = time.time()
        block(gateway, name)
        progress(f"f5xc block {i + 1} of {rounds}")
        time.sleep(rng.uniform(0, gap))
    progress("")
    return asked


def latency():
    rounds = 40 if SMALLER == 1 else 4
    with mirror() as (f5, gateway):
        asked = one_by_one(gateway, rounds, 0, 6)
        labs.wait_for(lambda: equal(gateway, rounds), "all are read back", 120)
        times = visible(f5.requests(), asked)
        tell("f5xc", "visible-median", statistics.median(times), "ms")
        tell("f5xc", "visible-p99", percentile(times, 0.99), "ms")
        f5.fail(percent=2.5, seed=1, status=429)
        f5.fail(percent=2.5, seed=2, status=503)
        asked = one_by_one(gateway, rounds, 1000, 6)
        f5.mend()
        labs.wait_for(lambda: equal(gateway, 2 * rounds), "all are read back", 180)
        tell("f5xc", "visible-p99-faulty", percentile(visible(f5.requests(), asked), 0.99), "ms")
        seen, n = len(f5.requests()), sized(1000)
        block_many(gateway, [address(5000 + i) for i in range(n)])
        labs.wait_for(lambda: equal(gateway, 2 * rounds + n), "a thousand are read back", 180)
        tell("f5xc", "requests-per-1000-blocks", len(f5.requests()) - seen, "requests")


def sustained():
    """One block a second, and as often one of 5,000 elsewhere withdrawn: 50 sets of 100."""
    seconds, entries, sets = (600, 5000, 50) if SMALLER == 1 else (10, 80, 8)
    with mirror(set_size=entries // sets, **FAST) as (f5, gateway):
        block_many(gateway, [address(i) for i in range(entries)])
        labs.wait_for(lambda: equal(gateway, entries), "all sets stand", 120)
        gateway.end(gateway.processes.pop())
        configure(gateway, f5.url, {"set_size": entries // sets})
        f5.peer("limit", {"per_minute": 60, "burst": 15})
        gateway.start_control()
        labs.wait_for(lambda: equal(gateway, entries), "all sets are read", 300)
        rng, asked, left, seen = random.Random(1), {}, list(range(entries)), len(f5.requests())
        begun = time.time()
        for i in range(seconds):
            name = address(20000 + i)
            asked[name] = time.time()
            block(gateway, name)
            gateway.stanch("unblock", address(left.pop(rng.randrange(len(left)))), "--wait", "0")
            progress(f"f5xc sustained, second {i + 1} of {seconds}")
            time.sleep(max(0.0, begun + i + 1 - time.time()))
        progress("")
        minutes = (time.time() - begun) / 60
        rate = (len(f5.requests()) - seen) / minutes
        labs.wait_for(lambda: len(visible(f5.requests(), asked)) == seconds, "the last is read back", 120)
        tell("f5xc", "sustained-requests-per-minute", rate, "requests")
        tell("f5xc", "sustained-visible-p99", percentile(visible(f5.requests(), asked), 0.99), "ms")


def first_sync():
    entries = sized(100000)
    with mirror(**FAST) as (f5, gateway):
        f5.fail(n=10**6, status=503)  # what stands in the ledger when F5 is first reached
        block_many(gateway, [address(i) for i in range(entries)])
        gateway.end(gateway.processes.pop())
        f5.mend()
        seen, begun = len(f5.requests()), time.monotonic()
        gateway.start_control()
        labs.wait_for(lambda: equal(gateway, entries), "all are read back", 300)
        tell("f5xc", "first-sync-100k-s", time.monotonic() - begun, "s")
        tell("f5xc", "first-sync-100k-requests", len(f5.requests()) - seen, "requests")


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def violations():
    for path in (DOCUMENT, PRISM):
        if not os.path.exists(path):
            skipped("f5xc", "prism-violations", f"{os.path.basename(path)} is absent")
            return
    port, f5 = labs.free_port(), F5XC(token="word", omit_null=True)
    proxy = subprocess.Popen([shutil.which("node"), PRISM, "proxy", DOCUMENT, f"http://127.0.0.1:{f5.port}",
                              "--errors", "-h", "127.0.0.1", "-p", str(port)], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
    try:
        labs.wait_for(lambda: listens(port), "Prism listens", 90)
        f5.allow_all()
        f5.firewall("stanch-deny", "operator-allow")
        with mirror(f"http://127.0.0.1:{port}/api", f5, policy_before="operator-allow", **FAST) as (_, gateway):
            block(gateway, "203.0.113.7", "tcp/203.0.113.8:443")
            labs.wait_for(lambda: gateway.stanch_json("f5")["attached"] == 2, "both are attached", 60)
    finally:
        proxy.terminate()
        text = proxy.communicate()[0]
    tell("f5xc", "prism-violations", text.lower().count("violation"), "violations")


def f5xc():
    latency()
    first_sync()
    violations()
    sustained()
