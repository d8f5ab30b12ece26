#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Step times of one set of plans at L1 and at L2: what folding flows into nodes changes.

    tools/fidelity_table.py ORRERY [NAME...]

The set: the published first mappings of tools/published_mappings.py, on fabrics without oversubscription, and three plans below
leaves whose uplinks are oversubscribed, where L2 needs every rank. Steps of Qwen3-235B and below such leaves have fewer
sequences than the published ones. Prints one row each as Markdown, and ends with exit code 1 if a difference is above 1 %.
"""

import json
import sys
import tempfile
from pathlib import Path

from published_mappings import MAPPINGS
from published_plans import prepare, run, seconds

MOST = 0.01
MIXTRAL = {"model": "mixtral-8x7b", "cluster": "h100-64", "nodes": 0, "sequence": 4096, "base": {}}
LEAVES = {"nodes_per_leaf": 4, "oversubscription": 4.0}  # 64 H100 below two leaves
SET = {name: (mapping | {"global_batch": 256} if mapping["model"] == "qwen3-235b-a22b" else mapping, None)
       for name, mapping in MAPPINGS.items()}
SET |= {
    "mixtral-8x7b ep8, leaves of 4 nodes at 4 : 1": (
        MIXTRAL | {"global_batch": 128, "mapping": {"ep": 8, "recompute": ["full"]}}, LEAVES),
    "mixtral-8x7b pp2 ep8 across leaves, leaves of 4 nodes at 4 : 1": (
        MIXTRAL | {"global_batch": 128, "mapping": {"pp": 2, "ep": 8, "recompute": ["full"], "order": "pp-tp-cp-ep-dp"}},
        LEAVES),
    "bridge gpt-oss-120b pp1 ep32, leaves of 4 nodes at 4 : 1": (
        MAPPINGS["bridge gpt-oss-120b"] | {"global_batch": 128, "mapping": {"ep": 32, "recompute": ["full"]}}, LEAVES),
}


def row_of(orrery, name, folder):
    mapping, fabric = SET[name]
    _, _, calibration, _, fit = prepare(orrery, mapping, folder, fabric)
    if not (folder / "plan.json").exists():
        sys.exit(f"{name}: {fit.stderr.strip()}")
    times = []
    for level in ("L1", "L2"):
        step = run(orrery, "simulate", str(folder / "plan.json"), *calibration, "--fidelity", level, "--json")
        if step.returncode != 0:
            sys.exit(f"{name} at {level}: {step.stderr.strip()}")
        times.append(seconds(json.loads(step.stdout)["step_time"]))
    return times


def main():
    orrery, names = sys.argv[1], sys.argv[2:] or list(SET)
    print("| plan | L1 | L2 | L1 over L2 |\n|---|---|---|---|")
    largest = 0.0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            folded, pairs = row_of(orrery, name, Path(folder))
        difference = folded / pairs - 1
        largest = max(largest, abs(difference))
        print(f"| {name} | {folded:.4g} s | {pairs:.4g} s | {difference * 100:+.2f} % |", flush=True)
    return 1 if largest > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
