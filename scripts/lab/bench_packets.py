# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The benches of the worker's loop, on devices of DPDK that need no network card: fastpath, update."""

import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

from figures import HugePages, binary, eal, first, measure, progress, skipped, tell

MILLION = 1000000
# For a look at whether every case still runs: so many times fewer entries, and shorter.
SMALLER = int(os.environ.get("STANCH_BENCH_SMALLER", "1"))
MACSWAP = "macswap by hand"


def label(millions):
    return f"{millions}M"


def against_macswap(got, part, case):
    if f"{part}-ratio" not in got:
        skipped("fastpath", case, got.get(f"{part}-skipped", got.get("skipped", "no figures")))
        return
    ours, peer = float(got[f"{part}-ours"]), float(got[f"{part}-peer"])
    tell("fastpath", case, 1e3 / ours, "Mpps", MACSWAP, 1e3 / peer, float(got[f"{part}-ratio"]),
         extra_ns=float(got[f"{part}-extra"]))


def fastpath():
    for millions in (1, 10):
        entries, big = millions * MILLION // SMALLER, millions > 1
        progress(f"fastpath: realistic, {entries:,} entries")
        got = measure("bench_fastpath", ["realistic", str(entries), "hot", *(["hash"] if big else [])],
                      1200 if big else 64)
        against_macswap(got, "hot", f"realistic-{label(millions)}")
        if big:
            hash_told(got)
        progress(f"fastpath: random, {entries:,} entries")
        got = measure("bench_fastpath", ["random", str(entries), "hot", "cold"], 900)
        against_macswap(got, "hot", f"worst-{label(millions)}")
        against_macswap(got, "cold", f"cold-{label(millions)}")
        progress(f"fastpath: dpdk-testpmd, {entries:,} entries")
        testpmd(f"testpmd-{label(millions)}", entries)
    progress("")


def hash_told(got):
    if "hash-ratio" not in got:
        skipped("fastpath", "rte-hash-10M", got.get("hash-skipped", got.get("skipped", "no figures")))
        return
    tell("fastpath", "rte-hash-10M", float(got["hash-ours"]), "ns beyond macswap", "rte_hash as the lookup",
         float(got["hash-peer"]), float(got["hash-ratio"]))


# --- dpdk-testpmd and the worker in turns, on the same captures

TESTPMD_MBUFS = 262143
TESTPMD_SECONDS = 4


def testpmd_rate(folder):
    """Mpps that dpdk-testpmd receives and forwards with macswap: the median of its seconds."""
    words = [*first(), "dpdk-testpmd", *eal(800)]
    for i, name in enumerate(("inside", "outside")):
        words.append(f"--vdev=net_pcap{i},rx_pcap={folder}/{name}.pcap,infinite_rx=1")
    words += ["--", "--forward-mode=macswap", "--burst=32", "--nb-cores=1", "--stats-period=1",
              f"--total-num-mbufs={TESTPMD_MBUFS}", "--mbcache=250"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    rates, ports = [], []
    deadline = time.monotonic() + 60
    try:
        for line in process.stdout:
            found = re.search(r"Rx-pps:\s+(\d+)", line)
            if found:
                ports.append(int(found.group(1)))
            if len(ports) == 2:
                rates.append(sum(ports) / 1e6)
                ports = []
            if len(rates) == TESTPMD_SECONDS or time.monotonic() > deadline:
                break
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    if len(rates) < TESTPMD_SECONDS:
        raise RuntimeError("dpdk-testpmd tells no rates")
    return statistics.median(rates[1:])  # the first is not a whole one


def testpmd(case, entries, rounds=5):
    if not shutil.which("dpdk-testpmd"):
        skipped("fastpath", case, "dpdk-testpmd is missing: scripts/setup bench")
        return
    with HugePages(1700) as enough, tempfile.TemporaryDirectory(prefix="stanch-bench-") as folder:
        if not enough:
            skipped("fastpath", case, "1700 MiB of huge pages are not to be had")
            return
        ours = subprocess.Popen([*first(), binary("bench_fastpath"), *eal(800), "--", "realistic", str(entries),
                                 f"pcap={folder}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL, text=True)
        try:
            said = ours.stdout.readline().strip()
            if said != "ready":
                skipped("fastpath", case, said or "bench_fastpath ended")
                return
            figures = []
            for _ in range(max(1, rounds // min(SMALLER, rounds))):
                ours.stdin.write("go\n")
                ours.stdin.flush()
                rate = float(ours.stdout.readline().split()[1])
                figures.append((rate, testpmd_rate(folder)))
        except (RuntimeError, IndexError) as error:
            skipped("fastpath", case, str(error))
            return
        finally:
            ours.stdin.close()
            ours.wait(30)
    tell("fastpath", case, statistics.median(x for x, _ in figures), "Mpps", "dpdk-testpmd macswap",
         statistics.median(y for _, y in figures), statistics.median(x / y for x, y in figures))


# --- changes

def update():
    for millions in (1, 10):
        case = f"rate-kept-{label(millions)}"
        progress(f"update: {case}")
        got = measure("bench_update", ["rate", str(millions * MILLION // SMALLER)], 64)
        if "ratio" not in got:
            skipped("update", case, got.get("skipped", "no figures"))
            continue
        tell("update", case, float(got["with"]), "Mpps", "without changes", float(got["without"]),
             float(got["ratio"]), mean_ratio=float(got["mean-ratio"]), changes_per_s=float(got["changes"]))
    progress("update: effect")
    with tempfile.TemporaryDirectory(prefix="stanch-bench-") as folder:
        got = measure("bench_update", ["effect", str(MILLION // SMALLER), str(20000 // min(SMALLER, 100)),
                                       folder], 64)
    progress("")
    if "p99" not in got:
        skipped("update", "effect-p99", got.get("skipped", "no figures"))
        return
    tell("update", "effect-p99", float(got["p99"]), "us", median=float(got["median"]),
         add_median=float(got["add-median"]), remove_median=float(got["remove-median"]),
         samples=int(got["samples"]))
