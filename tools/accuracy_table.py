#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mean and median absolute errors of step times by set, as docs/accuracy.md states them.

Usage: accuracy_table.py RUNS_JSON LINES_JSONL...

RUNS_JSON is runs/1, LINES_JSONL what `orrery validate RUNS_JSON --time --cross-validate --runs-out LINES_JSONL` wrote;
with several, their figures stand side by side. A set joins the GPUs of one source, and tells MoE from dense.
"""

import json
import statistics
import sys

COLUMNS = ("zero_fit_s", "fitted_s", "cross_validated_s")


def set_of(run):
    group = run["group"].removesuffix("_cards")
    if group == "bridge":
        return f"bridge {run['kind']}"
    if group == "mlperf":
        return "mlperf LoRA" if run.get("task") == "lora" else "mlperf pre-training"
    return group


def errors(path, runs):
    """By set and column: absolute errors, in percent."""
    out = {}
    with open(path) as lines:
        for line in lines:
            row = json.loads(line)
            for name in (set_of(runs[row["run"]]), "all"):
                for column in COLUMNS:
                    if column in row:
                        error = 100 * abs(row[column] / row["measured_s"] - 1)
                        out.setdefault(name, {}).setdefault(column, []).append(error)
    return out


def main():
    with open(sys.argv[1]) as file:
        runs = {run["id"]: run for run in json.load(file)["runs"]}
    tables = [errors(path, runs) for path in sys.argv[2:]]
    print("mean, median absolute error in %: " + "; ".join(column.removesuffix("_s") for column in COLUMNS))
    for name in sorted(set().union(*tables)):
        cells = []
        for table in tables:
            columns = table.get(name, {})
            cells.append("; ".join(f"{statistics.mean(v):5.1f}, {statistics.median(v):4.1f}" for v in columns.values()))
        count = len(next(iter(tables[0].get(name, {"": []}).values())))
        print(f"{name:22} {count:5}  " + "  |  ".join(cells))


main()
