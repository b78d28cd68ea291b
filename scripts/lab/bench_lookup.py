# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The lookup alone against DPDK's and the kernel's, what ten million entries take, and cost against size."""

import os
import subprocess
import tempfile
import time

import lab as labs
from figures import (AS_JSON, MILLION, ROOT, SMALLER, binary, bpf_object, label, line, measure, number, progress, sized,
                     skipped, tell)
from plot import plot

HASH = "rte_hash (lock-free, bulk)"
PEERS = {  # of bench_lookup; and MiB of huge pages for so many entries
    "none": ("", lambda n: 64),
    "hash": (HASH, lambda n: 100 + n * 160 // MILLION),
    "lengths": ("rte_hash, a probe a length", lambda n: 100 + n * 200 // MILLION),
    "fib": ("rte_fib (dir24_8, AVX-512)", lambda n: 400 + n * 2000 // MILLION),
    "lpm": ("rte_lpm (bulk)", lambda n: 200 + n * 2000 // MILLION),
    "acl": ("rte_acl", lambda n: 200 + n * 4000 // MILLION),
    "xdp-hash": ("XDP, hash map", lambda n: 64),
    "xdp-lpm": ("XDP, LPM trie", lambda n: 64),
}
CASES = [  # case, set, entries, peer
    ("hosts-1M", "hosts4", MILLION, "hash"),
    ("hosts-10M", "hosts4", 10 * MILLION, "hash"),
    ("mix4-1M", "mix4", MILLION, "fib"),
    ("mix6-1M", "mix6", MILLION, "lengths"),
    ("mix6-10M", "mix6", 10 * MILLION, "lengths"),
    ("rte-fib-100k", "mix4", 100000, "fib"),
    ("rte-lpm-1k", "mix4", 1000, "lpm"),
    ("rte-lpm-100k", "mix4", 100000, "lpm"),  # an addition looks through all of its length: no more than that
    ("rte-acl-1k", "mix4", 1000, "acl"),
    ("rte-acl-100k", "mix4", 100000, "acl"),
    ("xdp-hash-1M", "hosts4", MILLION, "xdp-hash"),
    ("xdp-hash-10M", "hosts4", 10 * MILLION, "xdp-hash"),
    ("xdp-lpm-100k", "mix4", 100000, "xdp-lpm"),
    ("xdp-lpm-1M", "mix4", MILLION, "xdp-lpm"),
]


def run(what, entries, peer="none", variant=()):
    """Runs bench_lookup; its figures by name, or a reason under "skipped"."""
    entries = sized(entries)
    progress(f"lookup: {what} {entries:,} against {PEERS[peer][0] or 'none'}")
    with tempfile.TemporaryDirectory(prefix="stanch-bench-") as folder:
        word = "hash" if peer == "lengths" else peer
        try:
            if peer.startswith("xdp"):
                word += "=" + bpf_object(folder)
        except OSError as error:
            return {"skipped": str(error)}
        got = measure("bench_lookup", [what, str(entries), "5", word, *variant], PEERS[peer][1](entries),
                      lcores=str((os.cpu_count() or 1) - 1))
    progress("")
    return got


def lookup():
    mixes = {}
    for case, what, entries, peer in CASES:
        got = run(what, entries, peer)
        if "ratio" not in got:
            skipped("lookup", case, got.get("skipped", "no figures"))
            continue
        mixes[case] = float(got["ours"])
        tell("lookup", case, float(got["ours"]), "ns", PEERS[peer][0], float(got["peer"]), float(got["ratio"]))
    for variant in ("avx512", "avx2", "portable"):
        got = run("hosts4", MILLION, variant=(variant,))
        if "ours" in got:
            tell("lookup", f"hosts-1M-{variant}", float(got["ours"]), "ns")
        else:
            skipped("lookup", f"hosts-1M-{variant}", got.get("skipped", "no figures"))
    got = run("replaced4", 10 * MILLION)
    if "ours" in got:
        tell("lookup", "hosts-10M-replaced", float(got["ours"]), "ns")
    else:
        skipped("lookup", "hosts-10M-replaced", got.get("skipped", "no figures"))
    if "mix4-1M" in mixes and "mix6-1M" in mixes:
        tell("lookup", "v4-over-v6-1M", mixes["mix4-1M"] / mixes["mix6-1M"], "ratio of ns")
    else:
        skipped("lookup", "v4-over-v6-1M", "one of the two has no figure")


# --- ten million entries

def memory(process, field):
    """Of a process, in octets."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        return next(int(words.split()[1]) * 1024 for words in f if words.startswith(field + ":"))


def footprint():
    entries = sized(10 * MILLION)
    got = run("hosts4", 10 * MILLION)
    if "hot" in got:
        tell("footprint", "bytes-v4-10M", int(got["hot"]) / entries, "octets an entry")
        tell("footprint", "bytes-v4-10M-with-counts", int(got["resident"]) / entries, "octets an entry")
        tell("footprint", "load-10M", float(got["fill"]), "s")
    else:
        for case in ("bytes-v4-10M", "bytes-v4-10M-with-counts", "load-10M"):
            skipped("footprint", case, got.get("skipped", "no figures"))
    try:
        process_footprint(entries)
    except (RuntimeError, OSError, TimeoutError, subprocess.CalledProcessError) as error:
        for case in ("load-text-10M", "rss-v4-10M", "rss-v4-10M-loaded"):
            skipped("footprint", case, str(error))


def process_footprint(entries):
    with labs.Lab() as lab:
        lab.configure(capacity=entries, memory=128)
        os.makedirs(lab.path("list"), exist_ok=True)
        progress("footprint: ten million entries of text")
        subprocess.run([binary("bench_snapshot"), lab.path("list"), str(entries)], check=True)
        progress("")
        begun = time.monotonic()
        plane = lab.start_dataplane()
        tell("footprint", "load-text-10M", time.monotonic() - begun, "s")
        labs.wait_for(lambda: lab.ctl_status()["list"]["scrub_entries"] == entries, "a whole scrub", 120)
        # The most it ever had.
        tell("footprint", "rss-v4-10M", memory(plane, "VmHWM") / entries, "octets an entry")
        tell("footprint", "rss-v4-10M-loaded", memory(plane, "VmRSS") / entries, "octets an entry")


# --- cost against size

SIZES = (1000, 10000, 100000, MILLION, 10 * MILLION)
LOOKUPS = [  # set, its name, peer, sizes that the peer bears
    ("hosts4", "IPv4 hosts", "hash", SIZES),
    ("hosts4", "IPv4 hosts", "xdp-hash", SIZES),
    ("mix4", "IPv4 hosts and prefixes", "fib", SIZES[:4]),
    ("mix4", "IPv4 hosts and prefixes", "lpm", SIZES[:3]),
    ("mix4", "IPv4 hosts and prefixes", "acl", SIZES[:3]),
    ("mix4", "IPv4 hosts and prefixes", "xdp-lpm", SIZES[:4]),
    ("mix4", "IPv4 hosts and prefixes", "none", SIZES[4:]),
    ("mix6", "IPv6 hosts and prefixes", "lengths", SIZES),
]
LOOPS = [("realistic", "stanch, destinations by Zipf's law"), ("random", "stanch, anywhere: the worst case")]


class Curves:
    """{name: {entries: ns}}; what is measured more than once keeps what came first."""

    def __init__(self):
        self.points = {}

    def add(self, name, entries, ns):
        self.points.setdefault(name, {}).setdefault(entries, ns)


def growth_of_lookups(curves):
    for what, name, peer, sizes in LOOKUPS:
        for entries in sizes:
            got = run(what, entries, peer)
            case = f"{what}-{label(entries)}" + (f"-{peer}" if peer != "none" else "")
            if "ours" not in got or (peer != "none" and "ratio" not in got):
                skipped("growth", case, got.get("skipped", "no figures"))
                continue
            curves.add(f"stanch, {name}", entries, float(got["ours"]))
            if peer != "none":
                curves.add(f"{PEERS[peer][0]}, {name}", entries, float(got["peer"]))
            if AS_JSON:
                peers = (PEERS[peer][0], float(got["peer"]), float(got["ratio"])) if peer != "none" else ()
                tell("growth", case, float(got["ours"]), "ns", *peers)


def growth_of_loop(curves):
    for kind, name in LOOPS:
        for entries in SIZES:
            progress(f"growth: the worker's loop, {kind}, {entries:,} entries")
            got = measure("bench_fastpath", [kind, str(sized(entries)), "hot"], 64)
            case = f"loop-{kind}-{label(entries)}"
            if "hot-ratio" not in got:
                skipped("growth", case, got.get("hot-skipped", got.get("skipped", "no figures")))
                continue
            curves.add(name, entries, float(got["hot-ours"]))
            curves.add("a loop that swaps MAC addresses", entries, float(got["hot-peer"]))
            if AS_JSON:
                tell("growth", case, float(got["hot-ours"]), "ns", "macswap by hand", float(got["hot-peer"]),
                     float(got["hot-ratio"]))


def table(title, curves):
    if AS_JSON or not curves.points:
        return
    print(f"\n{title:58}" + "".join(f"{label(entries):>11}" for entries in SIZES))
    for name, points in curves.points.items():
        print(f"{name:58}" + "".join(number(points.get(entries), 11) or " " * 11 for entries in SIZES), flush=True)


def growth(path=None):
    lookups, loops = Curves(), Curves()
    growth_of_loop(loops)
    growth_of_lookups(lookups)
    progress("")
    table("the worker's whole loop, 64 octets, 5 % denied: ns a packet", loops)
    table("the lookup alone, 5 % denied: ns an address", lookups)
    path = path or os.path.join(ROOT, "build", "growth.svg")
    plot(path, [("the worker's whole loop, 64 octets, 5 % denied", "ns a packet", False, loops.points),
                ("the lookup alone, 5 % denied", "ns an address", True, lookups.points)])
