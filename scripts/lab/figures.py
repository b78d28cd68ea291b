# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""What the benches of scripts/bench share: how a figure is told, huge pages, the programs that measure."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("STANCH_BUILD", os.path.join(ROOT, "build"))
AS_JSON = "--json" in sys.argv


# For a look at whether every case still runs: so many times fewer entries, and shorter.
SMALLER = int(os.environ.get("STANCH_BENCH_SMALLER", "1"))
MILLION = 1000000

# What is aimed at: of the ratio or of the value, at least or at most.
GOALS = {
    "fastpath": {
        "realistic-1M": ("ratio", ">=", 0.75), "realistic-10M": ("ratio", ">=", 0.65),
        "worst-1M": ("ratio", ">=", 0.60), "worst-10M": ("ratio", ">=", 0.42),
        "cold-1M": ("ratio", ">=", 0.88), "cold-10M": ("ratio", ">=", 0.72), "rte-hash-10M": ("ratio", ">=", 4.5),
        "testpmd-1M": ("ratio", ">=", 0.85), "testpmd-10M": ("ratio", ">=", 0.75)},
    "lookup": {
        "hosts-10M": ("ratio", ">=", 4.5), "mix4-1M": ("ratio", ">=", 8), "mix6-10M": ("ratio", ">=", 6),
        "xdp-hash-10M": ("ratio", ">=", 65), "xdp-lpm-1M": ("ratio", ">=", 650),
        "v4-over-v6-1M": ("value", ">=", 0.33)},
    "veth": {
        "nft-1M": ("ratio", ">", 1), "ipset-1M": ("ratio", ">", 1), "xdphash-1M": ("ratio", ">", 1),
        "xdplpm-1M": ("ratio", ">", 1), "afxdp-1M": ("ratio", ">=", 0.90)},
    "update": {
        "rate-kept-1M": ("ratio", ">=", 0.98), "rate-kept-10M": ("ratio", ">=", 0.98),
        "effect-p99": ("value", "<=", 100)},
    "thehive": {
        "verdict-to-drop-p99": ("value", "<=", 20), "withdraw-to-forward-p99": ("value", "<=", 20),
        "verdict-to-drop-p99-under-sync": ("value", "<=", 50),
        "withdraw-to-forward-p99-under-sync": ("value", "<=", 50), "verdict-to-f5": ("ratio", ">=", 2),
        "hooks-lost": ("value", "<=", 35000), "hook-answer-1000-closures-p99": ("value", "<=", 50)},
    "footprint": {
        "bytes-v4-10M": ("value", "<=", 6.7), "rss-v4-10M": ("value", "<=", 16), "load-10M": ("value", "<=", 0.5),
        "load-text-10M": ("value", "<=", 4)},
    "f5xc": {
        "visible-p99": ("value", "<=", 10000), "requests-per-1000-blocks": ("value", "<=", 20),
        "sustained-requests-per-minute": ("value", "<=", 30), "sustained-visible-p99": ("value", "<=", 30000),
        "first-sync-100k-requests": ("value", "<=", 400), "prism-violations": ("value", "<=", 0)},
    "fleet": {
        "publish-to-drop-median": ("value", "<=", 20), "publish-to-drop-p99": ("value", "<=", 20),
        "list-1M-to-enforced": ("value", "<=", 10000), "list-10M-to-enforced": ("value", "<=", 60000),
        "list-10M-peak-mib": ("value", "<=", 2048), "list-1M-1pct-change": ("value", "<=", 1000),
        "failover-leader-killed": ("value", "<=", 5000), "failover-redis-killed": ("value", "<=", 15000),
        "redis-bytes-per-entry": ("value", "<=", 16)},
}


def sized(entries):
    """So many entries, or as many as a short look is content with."""
    return max(100, entries // SMALLER) if SMALLER > 1 else entries


def label(entries):
    return f"{entries // MILLION}M" if entries >= MILLION else f"{entries // 1000}k"


def reached(goal, value, ratio):
    of, how, aim = goal
    figure = ratio if of == "ratio" else value
    if figure is None:
        return None
    return figure > aim if how == ">" else figure >= aim if how == ">=" else figure <= aim


def number(value, width):
    """Of five significant digits or so, aligned."""
    if value is None:
        return " " * width
    digits = 0 if abs(value) >= 10000 else 1 if abs(value) >= 1000 else 2 if abs(value) >= 100 else 3
    return f"{value:{width},.{digits}f}"


HEAD = f"{'bench':9} {'case':31} {'value':>12} {'unit':17} {'peer':31} {'of the peer':>12} {'ratio':>9}  goal"
headed = False


def line(text):
    """One of the table, below its head."""
    global headed
    if not headed:
        headed = True
        print(HEAD, flush=True)
    print(text.rstrip(), flush=True)


def tell(bench, case, value, unit, peer=None, peer_value=None, ratio=None, **more):
    """One figure. ratio: our rate over the peer's, so that larger is better."""
    goal = GOALS.get(bench, {}).get(case) if SMALLER == 1 else None
    got = reached(goal, value, ratio) if goal else None
    if AS_JSON:
        if goal:
            more.update(goal=goal[2], reached=got)
        print(json.dumps({"bench": bench, "case": case, "value": value, "unit": unit,
                          "peer": peer, "peer_value": peer_value, "ratio": ratio, **more}), flush=True)
        return
    aim = f"{goal[1]} {goal[2]:g} {'reached' if got else 'not reached'}" if goal else ""
    extra = ", ".join(f"{key} {figure:,.2f}" for key, figure in more.items())
    line(f"{bench:9} {case:31} {number(value, 12)} {unit:17} {peer or '':31} {number(peer_value, 12)} "
         f"{number(ratio, 9)}  {aim:20} {extra}")


def skipped(bench, case, why):
    if AS_JSON:
        print(json.dumps({"bench": bench, "case": case, "value": None, "unit": None, "peer": None,
                          "peer_value": None, "ratio": None, "skipped": why}), flush=True)
    else:
        line(f"{bench:9} {case:31}      skipped: {why}")


def progress(text):
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


class HugePages:
    """with HugePages(MiB) as enough: so many more are free; afterwards as many as there were before."""
    PATH = "/proc/sys/vm/nr_hugepages"

    def __init__(self, mebibytes):
        self.want, self.added = (mebibytes + 1) // 2, 0

    def __enter__(self):
        if os.geteuid() == 0:
            # All of them, though some may be free: those may be meant for somebody else.
            before = self.total()
            self.write(before + self.want)
            self.added = self.total() - before
        return self.free() >= self.want

    def __exit__(self, *_):
        # What was added goes, whatever somebody else has reserved meanwhile.
        if self.added > 0:
            self.write(max(0, self.total() - self.added))

    def total(self):
        with open(self.PATH, encoding="ascii") as f:
            return int(f.read())

    def free(self):
        with open("/proc/meminfo", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("HugePages_Free:"))

    def write(self, pages):
        with open(self.PATH, "w", encoding="ascii") as f:
            f.write(str(pages))


def alone():
    """Wait until no other scripts/bench measures on this machine; keep what is returned."""
    lock = open(os.path.join(tempfile.gettempdir(), "stanch-bench.lock"), "a", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waiting for another scripts/bench", file=sys.stderr)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def bpf_object(folder):
    """The programs of xdp.bpf.c, compiled into a folder; why not under an OSError."""
    if not shutil.which("clang"):
        raise OSError("clang is missing: scripts/setup bench")
    out = os.path.join(folder, "xdp.bpf.o")
    done = subprocess.run(["clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{os.uname().machine}-linux-gnu",
                           "-c", os.path.join(ROOT, "tests", "bench", "xdp.bpf.c"), "-o", out],
                          capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"clang: {done.stderr.strip()[:200]}")
    return out


def binary(name):
    return os.path.join(BUILD, "tests", "bench", name)


def first():
    """Before whatever else runs on this machine, where we may."""
    return ["nice", "-n", "-20"] if os.geteuid() == 0 else []


def eal(memory, lcores="0,1"):
    """Of a program that measures: a control thread and a worker."""
    return ["-l", lcores, "-m", str(memory), "--in-memory", "--no-pci", "--no-telemetry", "--log-level=error",
            "--force-max-simd-bitwidth=512"]


def measure(name, words, memory, seconds=240, lcores="0,1"):
    """Run a program of tests/bench; its figures by name, or why there are none under "skipped"."""
    if "," in lcores and (os.cpu_count() or 1) < 2:
        return {"skipped": "needs two CPUs: one measures, one writes"}
    if not os.path.exists(binary(name)):
        return {"skipped": f"{name} is not built in build/"}
    with HugePages(memory) as enough:
        if not enough:
            return {"skipped": f"{memory} MiB of huge pages are not to be had"}
        try:
            done = subprocess.run([*first(), binary(name), *eal(memory, lcores), "--", *words],
                                  capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return {"skipped": f"not within {seconds} s"}
    if done.returncode:
        return {"skipped": (done.stderr or done.stdout).strip().split("\n")[-1].strip()}
    return dict(line.split(" ", 1) for line in done.stdout.split("\n") if " " in line)
