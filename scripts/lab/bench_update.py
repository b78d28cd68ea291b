# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The stanch authors
"""update: how fast the list changes, what that costs the worker, and how soon it shows."""

import tempfile

from figures import MILLION, SMALLER, label, measure, progress, sized, skipped, tell


def update():
    for entries in (MILLION, 10 * MILLION):
        case = f"rate-kept-{label(entries)}"
        progress(f"update: {case}")
        got = measure("bench_update", ["rate", str(sized(entries))], 64)
        if "ratio" not in got:
            skipped("update", case, got.get("skipped", "no figures"))
            continue
        tell("update", case, float(got["with"]), "Mpps", "without changes", float(got["without"]),
             float(got["ratio"]), mean_ratio=float(got["mean-ratio"]), changes_per_s=float(got["changes"]))
    progress("update: effect")
    with tempfile.TemporaryDirectory(prefix="stanch-bench-") as folder:
        got = measure("bench_update", ["effect", str(sized(MILLION)), str(20000 // min(SMALLER, 100)),
                                       folder], 64)
    progress("")
    if "p99" not in got:
        skipped("update", "effect-p99", got.get("skipped", "no figures"))
        return
    tell("update", "effect-p99", float(got["p99"]), "us", median=float(got["median"]),
         add_median=float(got["add-median"]), remove_median=float(got["remove-median"]),
         samples=int(got["samples"]))
