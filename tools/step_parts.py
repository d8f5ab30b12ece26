#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Splits the steps of vTrain's single nodes (PP 1) into a part for the step, for each layer, for each micro-batch (the ends
of the model) and for each layer of each micro-batch, by least squares: as measured, zero-fit and cross-validated.

Usage: step_parts.py RUNS_JSON LINES_JSONL, as accuracy_table.py. Needs numpy. Milliseconds.
"""

import json
import sys

import numpy

with open(sys.argv[1]) as file:
    runs = {run["id"]: run for run in json.load(file)["runs"]}
cases = {}
with open(sys.argv[2]) as lines:
    for line in lines:
        row = json.loads(line)
        if "measured_s" not in row:
            continue
        run = runs[row["run"]]
        if run["group"] == "vtrain_single_node" and run["pp"] == 1:
            key = (run["model_inline"]["hidden"], run["micro_batch"], run["tp"])
            cases.setdefault(key, []).append((run, row))
for (hidden, micro_batch, tp), members in sorted(cases.items()):
    parts = []
    for column in ("measured_s", "zero_fit_s", "cross_validated_s"):
        matrix, times = [], []
        for run, row in members:
            count = run["global_batch"] // (run["dp"] * micro_batch)
            layers = run["model_inline"]["layers"]
            matrix.append([1, layers, count, count * layers, layers * (run["dp"] > 1)])
            times.append(row[column])
        weights = 1 / numpy.array(times)
        found = numpy.linalg.lstsq(numpy.array(matrix) * weights[:, None], numpy.ones(len(times)), rcond=None)[0] * 1e3
        parts.append("step {:5.1f} layer {:5.2f} micro-batch {:6.2f} layer of it {:6.2f}".format(*found))
    print(f"hidden {hidden} micro-batch {micro_batch} tp {tp}: " + " | ".join(parts))
