# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""update: how fast the list changes, what that costs the worker, and how soon it shows."""

import os
import shutil
import statistics
import subprocess
import tempfile
import time

import bench_veth
import lab as labs
from figures import MILLION, SMALLER, HugePages, binary, label, measure, progress, sized, skipped, tell


def rates_kept():
    for entries in (MILLION, 10 * MILLION):
        case = f"rate-kept-{label(entries)}"
        progress(f"update: {case}")
        got = measure("bench_update", ["rate", str(sized(entries))], 64)
        if "ratio" not in got:
            skipped("update", case, got.get("skipped", "no figures"))
            continue
        tell("update", case, float(got["with"]), "Mpps", "without changes", float(got["without"]),
             float(got["ratio"]), mean_ratio=float(got["mean-ratio"]), changes_per_s=float(got["changes"]))


def peaks():
    for entries in (MILLION, 10 * MILLION):
        progress(f"update: peak with {entries:,} entries")
        got = measure("bench_update", ["peak", str(sized(entries))], 64)
        for what in ("adds", "removes"):
            if what in got:
                tell("update", f"{what}-{label(entries)}", float(got[what]), "1/s")
            else:
                skipped("update", f"{what}-{label(entries)}", got.get("skipped", "no figures"))


def effects():
    progress("update: effect")
    with tempfile.TemporaryDirectory(prefix="stanch-bench-") as folder:
        got = measure("bench_update", ["effect", str(sized(MILLION)), str(20000 // min(SMALLER, 100)),
                                       folder], 64)
    if "p99" not in got:
        skipped("update", "effect-p99", got.get("skipped", "no figures"))
        return
    tell("update", "effect-p99", float(got["p99"]), "us", median=float(got["median"]),
         add_median=float(got["add-median"]), remove_median=float(got["remove-median"]),
         samples=int(got["samples"]))


# --- what is lost of a stream over veth while a real data plane's list changes over its link

CHANGES = 100000  # a second
OFFERED = 200000  # packets a second, none of them denied
LOSS_SECONDS = 2.0 if SMALLER == 1 else 0.5
LOSS_ROUNDS = 5 if SMALLER == 1 else 1
SPARE_IN = 20000  # bench_link.c


def stopped(wire):
    """Nothing is sent any more; (sent, arrived), once what was on its way has come."""
    before, deadline = None, time.monotonic() + 10
    while time.monotonic() < deadline:
        now = wire.offer(0), wire.arrived()
        if now == before:
            return now
        before = now
        time.sleep(0.1)
    raise RuntimeError("the sender does not stop")


def lost_in_a_million(wire, link, changes):
    """Of what was sent; and the changes a second that there were."""
    sent, arrived = stopped(wire)
    changed, begun = int(wire.ask(link, str(changes))), time.monotonic()
    wire.offer(OFFERED)
    time.sleep(LOSS_SECONDS)
    sent_then, arrived_then = stopped(wire)
    changed, took = int(wire.ask(link, "0")) - changed, time.monotonic() - begun
    if sent_then == sent:
        raise RuntimeError("nothing was sent")
    return 1e6 * (1 - (arrived_then - arrived) / (sent_then - sent)), changed / took


def loss_rounds():
    with HugePages(600) as enough, labs.Lab() as lab:
        if not enough:
            raise RuntimeError("600 MiB of huge pages are not to be had")
        wire = bench_veth.Wire(lab, MILLION)
        wire.prepare(hit_percent=0)
        process, _ = bench_veth.Stanch(wire, spare=2 * SPARE_IN).start()
        link = lab.spawn("gateway", "taskset", "-c", "0", binary("bench_link"), lab.path("run", "dataplane.sock"),
                         str(wire.entries + bench_veth.DESTINATIONS), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        if link.stdout.readline().strip() != "ok":
            raise RuntimeError(link.stderr.read().strip() or "bench_link does not start")
        # They share CPU 0 with the sender, which is before everything else there.
        for pid in (process.pid, link.pid):
            for task in os.listdir(f"/proc/{pid}/task"):
                bench_veth.hurry(task)
        lost_in_a_million(wire, link, CHANGES)  # for the caches
        figures = []
        for number in range(LOSS_ROUNDS):
            progress(f"update: loss, round {number + 1} of {LOSS_ROUNDS}")
            figures.append((*lost_in_a_million(wire, link, CHANGES), lost_in_a_million(wire, link, 0)[0]))
        lab.end(process)
    return figures


def loss():
    missing = [tool for tool in ("clang", "taskset", "chrt", "ethtool") if not shutil.which(tool)]
    try:
        if missing or (os.cpu_count() or 1) < 2:
            raise RuntimeError(f"{missing[0]} is missing: scripts/setup bench" if missing else "needs two CPUs")
        figures = loss_rounds()
    except (RuntimeError, OSError, ValueError, subprocess.CalledProcessError, TimeoutError) as error:
        skipped("update", "loss-1M", str(error))
        return
    tell("update", "loss-1M", statistics.median(lost for lost, _, _ in figures), "lost in a million",
         "without changes", statistics.median(without for _, _, without in figures),
         statistics.median((1e6 - lost) / (1e6 - without) for lost, _, without in figures),
         changes_per_s=statistics.median(changed for _, changed, _ in figures), offered=OFFERED)


def update():
    rates_kept()
    peaks()
    effects()
    loss()
    progress("")
