#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Order of runs that differ in one choice of the mapping: Kendall's tau of predicted against measured step times.

Usage: ablation_table.py RUNS_JSON LINES_JSONL [MOST_WRONG]

RUNS_JSON is runs/1, LINES_JSONL what `orrery validate RUNS_JSON --time --runs-out LINES_JSONL` wrote. A family is all runs
of one model, batch, machine, software and precision that are alike in every choice but one; the data-parallel degree
follows. Runs of one configuration count once, with the median of their times. Families of two have one pair, which is in
order or not: they are counted by pairs, and tau is the mean over families of at least three. Then the MOST_WRONG pairs
(default 12) that are in the wrong order and measured furthest apart.
"""

import itertools
import json
import math
import statistics
import sys

CHOICES = (
    "tp",
    "pp",
    "vpp",
    "cp",
    "ep",
    "etp",
    "micro_batch",
    "zero",
    "fsdp_shard",
    "tp_mode",
    "schedule",
    "pipeline_layout",
    "recompute",
    "dispatcher",
    "overlap",
    "cuda_graph",
)
JOB = (
    "group",
    "model",
    "model_inline",
    "layers_override",
    "task",
    "gpu",
    "gpus",
    "gpus_per_node",
    "interconnect",
    "software",
    "precision",
    "seq",
    "global_batch",
)
COLUMNS = ("zero_fit_s", "fitted_s")
NOISE = 0.05  # of a step time, at most: README of the collected runs


def text(run, keys):
    return tuple(json.dumps(run.get(key), sort_keys=True) for key in keys)


def tau_b(a, b):
    """Kendall's tau with ties; none if one list is constant."""
    score = ties_a = ties_b = pairs = 0
    for (a1, b1), (a2, b2) in itertools.combinations(zip(a, b), 2):
        x, y = (a1 > a2) - (a1 < a2), (b1 > b2) - (b1 < b2)
        pairs += 1
        score += x * y
        ties_a += x == 0
        ties_b += y == 0
    norm = math.sqrt((pairs - ties_a) * (pairs - ties_b))
    return score / norm if norm else None


def configurations(runs, predicted):
    """By job and choices: measured time and predictions, medians over repeats."""
    repeats = {}
    for run in runs:
        row = predicted.get(run["id"])
        if row:
            repeats.setdefault((text(run, JOB), text(run, CHOICES)), []).append(row)
    middle = lambda rows, key: statistics.median(row[key] for row in rows)
    return {
        where: {"ids": [row["run"] for row in rows]} | {key: middle(rows, key) for key in ("measured_s",) + COLUMNS}
        for where, rows in repeats.items()
    }


def families(cells):
    """(choice, members) of all that differ in one choice alone, each with the value of the choice."""
    for index, choice in enumerate(CHOICES):
        found = {}
        for (job, choices), cell in cells.items():
            others = choices[:index] + choices[index + 1 :]
            found.setdefault((job, others), []).append((choices[index], cell))
        for (job, _), members in found.items():
            if len(members) > 1:
                yield json.loads(job[0]), choice, members


def main():
    with open(sys.argv[1]) as file:
        runs = json.load(file)["runs"]
    with open(sys.argv[2]) as file:
        predicted = {row["run"]: row for row in map(json.loads, file) if "measured_s" in row}
    most_wrong = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    sums, wrong = {}, []
    for group, choice, members in families(configurations(runs, predicted)):
        cells = [cell for _, cell in members]
        for name in ((group, choice), (group, "all"), ("all", choice), ("all", "all")):
            of = sums.setdefault(name, {"families": 0, "pairs": 0, "clear": 0, "tau": {}, "right": {}})
            of["families"] += 1
            for column in COLUMNS:
                if len(cells) > 2:
                    tau = tau_b([c["measured_s"] for c in cells], [c[column] for c in cells])
                    if tau is not None:
                        of["tau"].setdefault(column, []).append(tau)
            for one, other in itertools.combinations(cells, 2):
                of["pairs"] += 1
                apart = abs(math.log(one["measured_s"] / other["measured_s"]))
                if apart < NOISE:
                    continue
                of["clear"] += 1
                for column in COLUMNS:
                    right = (one["measured_s"] < other["measured_s"]) == (one[column] < other[column])
                    of["right"][column] = of["right"].get(column, 0) + right
        for (value, one), (other_value, other) in itertools.combinations(members, 2):
            apart = abs(math.log(one["measured_s"] / other["measured_s"]))
            if (one["measured_s"] < other["measured_s"]) != (one["fitted_s"] < other["fitted_s"]):
                wrong.append((apart, group, choice, value, one, other_value, other))

    print(f"tau: mean over families of at least three; right: pairs in order, of those more than {NOISE:.0%} apart")
    print(f"{'group':20} {'choice':16} families  of 3+   pairs  clear  tau zero-fit, fitted   right zero-fit, fitted")
    for (group, choice), of in sorted(sums.items()):
        taus = [statistics.mean(of["tau"][c]) if of["tau"].get(c) else math.nan for c in COLUMNS]
        right = [of["right"].get(c, 0) / of["clear"] if of["clear"] else math.nan for c in COLUMNS]
        num = len(of["tau"].get("fitted_s", []))
        print(
            f"{group:20} {choice:16} {of['families']:8} {num:6} {of['pairs']:7} {of['clear']:6}  "
            f"{taus[0]:12.3f}, {taus[1]:6.3f}   {right[0]:14.1%}, {right[1]:6.1%}"
        )
    print(f"\nin the wrong order, fitted, furthest apart first: {len(wrong)} pairs")
    for apart, group, choice, value, one, other_value, other in sorted(wrong, key=lambda w: -w[0])[:most_wrong]:
        print(
            f"{group:20} {choice:12} {value} {one['measured_s']:.3g} s, predicted {one['fitted_s']:.3g} s ({one['ids'][0]}); "
            f"{other_value} {other['measured_s']:.3g} s, predicted {other['fitted_s']:.3g} s ({other['ids'][0]})"
        )


main()
