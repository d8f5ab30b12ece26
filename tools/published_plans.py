#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far published mappings are from the best that the search finds in the space of their trainer.

    tools/published_plans.py ORRERY [--fit] [NAME...]

Each mapping was published (tools/published_mappings.py names the sources). Its time is predicted by `orrery estimate`,
the best one by `orrery plan` under conditions that say what the trainer can do: both by the analytic interpreter, with
one calibration, so what differs is the mapping alone. A published mapping that our memory formula refuses is timed all
the same and marked. Prints one row each, as Markdown; with --fit only what each needs of the memory.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from published_mappings import MAPPINGS, MORE, SERVERS

ALL = MAPPINGS | MORE
NEAR = 0.1  # what is further from the best is explained
LEAST_WORTH = 0.005  # of the step, of a choice that is named


def run(orrery, *arguments):
    return subprocess.run([orrery, *arguments], capture_output=True, text=True, check=False)


def seconds(text):
    value, unit = text.split()
    return float(value) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[unit]


def cluster_of(repository, name, nodes):
    """One leaf of servers of a device."""
    devices, span, nics, each = SERVERS[name]
    device = json.loads((repository / "catalog/devices" / (name + ".json")).read_text())
    kind = "xgmi" if device["vendor"] == "amd" else "nvlink"
    group = {"name": name, "nodes": nodes, "devices_per_node": devices, "device": name,
             "scale_up": {"kind": kind, "span_nodes": min(span, nodes),
                          "per_device": device["scale_up_bandwidth"]["value"], "latency": "3.33 us"},
             "nics": {"per_node": nics, "each": each, "rails": nics, "latency": "2.8 us"},
             "host": {"pcie": device["pcie_bandwidth"]["value"], "memory": None}}
    fabric = {"kind": "rail_leaf_spine", "nodes_per_leaf": nodes, "oversubscription": 1.0, "planes": 1}
    return {"schema": "cluster/1", "groups": [group], "fabric": fabric, "gateways": [], "price": None, "pue": None,
            "carbon_intensity": None, "failures": None}


def prepare(orrery, m, folder, fabric=None):
    """Writes the plan of a mapping to folder/plan.json. What the plan takes on the command line, the strategy without the
    mapping, and what `orrery fit` said. `fabric`: keys of the cluster's that are other ones."""
    repository = Path(__file__).resolve().parent.parent
    inputs = [m["model"], m.get("cluster", "")]
    if "layers" in m:
        model = json.loads((repository / "catalog/models" / (m["model"] + ".json")).read_text())
        inputs[0] = str(folder / "model.json")
        Path(inputs[0]).write_text(json.dumps(model | {"num_hidden_layers": m["layers"]}))
    workload = ["--sequence", str(m["sequence"]), "--global-batch", str(m["global_batch"])]
    calibration = []
    if "calibration" in m:
        calibration = ["--calibration", str(repository / "catalog/calibration" / (m["calibration"] + ".json"))]
    if "server" in m:
        inputs[1] = str(folder / "cluster.json")
        Path(inputs[1]).write_text(json.dumps(cluster_of(repository, m["server"], m["nodes"])))
    elif m["nodes"] or fabric:
        inputs[1] = str(folder / "cluster.json")
        cluster = json.loads((repository / "catalog/clusters" / (m["cluster"] + ".json")).read_text())
        cluster["groups"][0]["nodes"] = m["nodes"] or cluster["groups"][0]["nodes"]
        cluster["fabric"].update(fabric or {})
        Path(inputs[1]).write_text(json.dumps(cluster))
    base = {"schema": "strategy/1", "zero_dense": 1, "zero_expert": 1, **m["base"]}
    (folder / "strategy.json").write_text(json.dumps({**base, **m["mapping"]}))
    fit = run(orrery, "fit", *inputs, str(folder / "strategy.json"), *workload, *calibration, "--out",
              str(folder / "plan.json"))
    return inputs, workload, calibration, base, fit


def fit_of(orrery, name, folder):
    inputs, workload, calibration, _, fit = prepare(orrery, ALL[name], folder)
    if not (folder / "plan.json").exists():
        return f"| {name} | refused | {fit.stderr.strip().splitlines()[0]} | |"
    report = json.loads(run(orrery, "fit", *inputs, str(folder / "strategy.json"), *workload, *calibration, "--json").stdout)
    return f"| {name} | {'yes' if fit.returncode == 0 else 'no'} | {report['peak_memory']} | {report['device_memory']} |"


def worths(orrery, plan, best, calibration):
    """What each choice of the best plan is worth, in per cent of the step, the larger ones first (orrery explain)."""
    found = run(orrery, "explain", str(plan), "--against", str(best), *calibration, "--json")
    if found.returncode != 0:
        return "not explained: " + found.stderr.strip().splitlines()[0]
    choices = json.loads(found.stdout)["against"]["choices"]
    large = [choice for choice in choices if abs(choice["ratio"]) >= LEAST_WORTH]
    return "; ".join(f"{choice['choice']} {choice['ratio'] * 100:+.1f} %" for choice in large)


def row_of(orrery, name, folder):
    m = ALL[name]
    strategy, plan, best_plan = folder / "strategy.json", folder / "plan.json", folder / "best.json"
    common, workload, calibration, base, fit = prepare(orrery, m, folder)
    if not plan.exists():
        return f"| {name} | refused: {fit.stderr.strip().splitlines()[0]} | | | | | |"
    estimate = run(orrery, "estimate", str(plan), *calibration, "--json")
    published = seconds(json.loads(estimate.stdout)["step_time"])
    strategy.write_text(json.dumps(base))
    conditions = m["space"] + ["order=tp-cp-ep-dp-pp"]  # the one that all of these trainers have
    where = [word for condition in conditions for word in ("--where", condition)]
    found = run(orrery, "plan", *common, "--strategy", str(strategy), *workload, *calibration, "--no-simulation", "--json",
                "--out", str(best_plan), *where)
    if found.returncode != 0:
        return f"| {name} | {published:.2f} s | no plan: {found.stderr.strip().splitlines()[-1]} | | | | |"
    report = json.loads(found.stdout)
    first = report["ranked"][0]
    best = seconds(first["analytic"])
    text = "tp {tp} pp {pp} ep {ep} mb {micro_batch} {schedule} {overlap} {recompute}".format(**first)
    fits = "yes" if fit.returncode == 0 else "no"
    gap = f"{report['gap'] * 100:.1f} %" if "gap" in report else "-"
    over = published / best - 1
    why = worths(orrery, plan, best_plan, calibration) if over > NEAR else ""
    return f"| {name} | {published:.2f} s | {fits} | {best:.2f} s | {over * 100:+.1f} % | {text} | {gap} | {why} |"


def main():
    only_fit = "--fit" in sys.argv
    words = [word for word in sys.argv[1:] if word != "--fit"]
    orrery, names = words[0], words[1:] or list(ALL)
    if only_fit:
        print("| mapping | fits | peak memory | of |\n|---|---|---|---|")
    else:
        print("| mapping | predicted | fits | best in the space | over it | the best one | gap of the search | worth of its choices |")
        print("|---|---|---|---|---|---|---|---|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            print((fit_of if only_fit else row_of)(orrery, name, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
