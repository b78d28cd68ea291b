# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""What the benches of scripts/bench share: how a figure is told, huge pages, the programs that measure."""

import fcntl
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("STANCH_BUILD", os.path.join(ROOT, "build"))
AS_JSON = "--json" in sys.argv


def tell(bench, case, value, unit, peer=None, peer_value=None, ratio=None, **more):
    """One figure. ratio: our rate over the peer's, so that larger is better."""
    if AS_JSON:
        print(json.dumps({"bench": bench, "case": case, "value": value, "unit": unit,
                          "peer": peer, "peer_value": peer_value, "ratio": ratio, **more}), flush=True)
        return
    against = f"  {peer} {peer_value:,.3f}, ratio {ratio:.2f}" if ratio is not None and peer else ""
    against += "".join(f", {key} {figure:,.2f}" for key, figure in more.items())
    print(f"{bench:9} {case:28} {value:>12,.3f} {unit}{against}", flush=True)


def skipped(bench, case, why):
    if AS_JSON:
        print(json.dumps({"bench": bench, "case": case, "value": None, "unit": None, "peer": None,
                          "peer_value": None, "ratio": None, "skipped": why}), flush=True)
    else:
        print(f"{bench:9} {case:28}      skipped: {why}", flush=True)


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


def binary(name):
    return os.path.join(BUILD, "tests", "bench", name)


def first():
    """Before whatever else runs on this machine, where we may."""
    return ["nice", "-n", "-20"] if os.geteuid() == 0 else []


def eal(memory):
    """Of a program that measures: a control thread and a worker."""
    return ["-l", "0,1", "-m", str(memory), "--in-memory", "--no-pci", "--no-telemetry", "--log-level=error",
            "--force-max-simd-bitwidth=512"]


def measure(name, words, memory, seconds=240):
    """Run a program of tests/bench; its figures by name, or why there are none under "skipped"."""
    if (os.cpu_count() or 1) < 2:
        return {"skipped": "needs two CPUs: one measures, one writes"}
    if not os.path.exists(binary(name)):
        return {"skipped": f"{name} is not built in build/"}
    with HugePages(memory) as enough:
        if not enough:
            return {"skipped": f"{memory} MiB of huge pages are not to be had"}
        try:
            done = subprocess.run([*first(), binary(name), *eal(memory), "--", *words], capture_output=True, text=True,
                                  timeout=seconds)
        except subprocess.TimeoutExpired:
            return {"skipped": f"not within {seconds} s"}
    if done.returncode:
        return {"skipped": (done.stderr or done.stdout).strip().split("\n")[-1].strip()}
    return dict(line.split(" ", 1) for line in done.stdout.split("\n") if " " in line)
