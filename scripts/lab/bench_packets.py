# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""The benches of the worker's loop, on devices of DPDK that need no network card: fastpath."""

import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

from figures import MILLION, SMALLER, HugePages, binary, eal, first, label, measure, progress, sized, skipped, tell

MACSWAP = "macswap by hand"


SIZES = (1000, 100000, MILLION, 10 * MILLION)


def against_macswap(got, part, case):
    if f"{part}-ratio" not in got:
        skipped("fastpath", case, got.get(f"{part}-skipped", got.get("skipped", "no figures")))
        return
    ours, peer = float(got[f"{part}-ours"]), float(got[f"{part}-peer"])
    tell("fastpath", case, 1e3 / ours, "Mpps", MACSWAP, 1e3 / peer, float(got[f"{part}-ratio"]),
         extra_ns=float(got[f"{part}-extra"]))


def realistic(entries):
    """Hit rates 5 and 0 %, bursts of 32 and 64, 64 octets and IMIX."""
    big = entries == 10 * MILLION
    for burst, program in (("", "bench_fastpath"), ("-burst64", "bench_fastpath64")):
        progress(f"fastpath: realistic, {entries:,} entries{burst}")
        with_hash = big and not burst
        got = measure(program, ["realistic", str(sized(entries)), "hot", "hot-hits0", "hot-imix", "hot-hits0-imix",
                                *(["hash"] if with_hash else [])], 1200 if with_hash else 64)
        for hits in ("", "-hits0"):
            for length in ("", "-imix"):
                against_macswap(got, f"hot{hits}{length}", f"realistic-{label(entries)}{hits}{burst}{length}")
        if with_hash:
            hash_told(got)


def worst(entries):
    progress(f"fastpath: random, {entries:,} entries")
    got = measure("bench_fastpath", ["random", str(sized(entries)), "hot", "hot-hits0", "cold"], 900)
    against_macswap(got, "hot", f"worst-{label(entries)}")
    against_macswap(got, "hot-hits0", f"worst-{label(entries)}-hits0")
    against_macswap(got, "cold", f"cold-{label(entries)}")


def fastpath():
    for entries in SIZES:
        realistic(entries)
        worst(entries)
    for entries in SIZES if SMALLER < 1000 else (MILLION,):  # smaller, all are one size
        testpmd(entries, CAPTURES)
    testpmd(MILLION, CAPTURES, hits="-hits0")
    testpmd(MILLION, CAPTURES, burst="-burst64")
    testpmd(MILLION, CAPTURES, length="-imix")
    testpmd(MILLION, NOTHING)
    progress("")


def hash_told(got):
    if "hash-ratio" not in got:
        skipped("fastpath", "rte-hash-10M", got.get("hash-skipped", got.get("skipped", "no figures")))
        return
    tell("fastpath", "rte-hash-10M", float(got["hash-ours"]), "ns above macswap", "rte_hash as the lookup",
         float(got["hash-peer"]), float(got["hash-ratio"]))


# --- dpdk-testpmd and the worker in turns on devices of the same kind

TESTPMD_SECONDS = 3 if SMALLER == 1 else 2
CAPTURES = ("testpmd", "net_pcap", 262143)  # the same frames for both; case, driver, mbufs
NOTHING = ("testpmd-null", "net_null", 8191)  # the worker's get their addresses besides
FORWARDS = ("macswap", "io")


def testpmd_rate(forward, device, mbufs, burst):
    """Mpps that dpdk-testpmd receives and forwards: the median of its seconds."""
    words = [*first(), "dpdk-testpmd", *eal(800), *(f"--vdev={text}" for text in device),
             "--", f"--forward-mode={forward}", f"--burst={burst}", "--nb-cores=1", "--stats-period=1",
             f"--total-num-mbufs={mbufs}", "--mbcache=250"]
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
    if len(rates) < TESTPMD_SECONDS or not all(rates[1:]):
        raise RuntimeError("dpdk-testpmd tells no rates")
    return statistics.median(rates[1:])  # the first is not a whole one


def testpmd_rounds(entries, kind, folder, variant, burst):
    """[(ours, {forward mode: dpdk-testpmd's})], in turns; RuntimeError with why there are none."""
    _, driver, mbufs = kind
    if driver == "net_pcap":
        word = f"pcap{variant}={folder}"
        device = [f"net_pcap{i},rx_pcap={folder}/{name}.pcap,infinite_rx=1"
                  for i, name in enumerate(("inside", "outside"))]
    else:
        word, device = f"turns{variant}", [f"net_null{i},size=64" for i in (0, 1)]
    ours = subprocess.Popen([*first(), binary("bench_fastpath64" if burst else "bench_fastpath"), *eal(800), "--",
                             "realistic", str(sized(entries)), word],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    figures = []
    try:
        said = ours.stdout.readline().strip()
        if said != "ready":
            raise RuntimeError(said or "bench_fastpath ended")
        for number in range(6 if SMALLER == 1 else 2):
            ours.stdin.write("go\n")
            ours.stdin.flush()
            rate = float(ours.stdout.readline().split()[1])
            if number:  # the first is for the caches, as dpdk-testpmd's first second
                figures.append((rate, {forward: testpmd_rate(forward, device, mbufs, 64 if burst else 32)
                                       for forward in FORWARDS}))
    except IndexError as error:
        raise RuntimeError("bench_fastpath ended") from error
    finally:
        ours.stdin.close()
        if ours.wait(30):
            raise RuntimeError(ours.stdout.read().strip() or "bench_fastpath failed")
    return figures


def testpmd(entries, kind, hits="", burst="", length=""):
    cases = {"macswap": f"{kind[0]}-{label(entries)}{hits}{burst}{length}",
             "io": f"{kind[0]}-io-{label(entries)}{hits}{burst}{length}"}
    progress(f"fastpath: {cases['macswap']}")
    try:
        if not shutil.which("dpdk-testpmd"):
            raise RuntimeError("dpdk-testpmd is missing: scripts/setup bench")
        with HugePages(1700) as enough, tempfile.TemporaryDirectory(prefix="stanch-bench-") as folder:
            if not enough:
                raise RuntimeError("1700 MiB of huge pages are not to be had")
            figures = testpmd_rounds(entries, kind, folder, hits + length, burst)
    except (RuntimeError, OSError) as error:
        for case in cases.values():
            skipped("fastpath", case, str(error))
        return
    for forward, case in cases.items():
        tell("fastpath", case, statistics.median(ours for ours, _ in figures), "Mpps", f"dpdk-testpmd {forward}",
             statistics.median(theirs[forward] for _, theirs in figures),
             statistics.median(ours / theirs[forward] for ours, theirs in figures))
