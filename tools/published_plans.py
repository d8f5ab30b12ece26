#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far published mappings are from the best that the search finds in the space of their trainer.

    tools/published_plans.py ORRERY [NAME...]

Each mapping was published with a run (docs/accuracy.md names the sources; the degrees are facts of those runs). Its
time is predicted by `orrery estimate`, the best one by `orrery plan` under conditions that say what the trainer can do:
both by the analytic interpreter, with one calibration, so what differs is the mapping alone. A published mapping that
our memory formula refuses is timed all the same and marked. Prints one row each, as Markdown.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# What Megatron-Core and the trainers above it run: 1F1B, interleaved or not, the distributed optimizer (ZeRO 1).
MEGATRON = ["schedule=1f1b,interleaved", "zero_dense<=1", "zero_expert<=1", "dispatcher=all_to_all", "overlap.tp=0",
            "offload_optimizer=0", "offload_activations=0"]
# Without the exchange of experts beside another micro-batch, which came to Megatron-Core after those runs.
EARLIER_MEGATRON = MEGATRON + ["overlap.ep_batch_level=0", "overlap.delayed_wgrad=0"]
# The same with the flex dispatcher (DeepEP, HybridEP), which sends a token once to each rank and domain.
MEGATRON_FLEX = [c for c in MEGATRON if not c.startswith("dispatcher")] + ["dispatcher=all_to_all,two_level"]
# HAI-LLM as the DeepSeek-V3 report describes it: DualPipe, ZeRO 1, two-level dispatch to experts.
HAI_LLM = ["schedule=dualpipe", "zero_dense<=1", "zero_expert<=1", "dispatcher=two_level", "overlap.tp=0", "cp=1", "etp=1",
           "offload_optimizer=0", "offload_activations=0"]


def qwen235(pp, ep, tp, vpp, recompute):
    return {"model": "qwen3-235b-a22b", "cluster": "h800-2048", "nodes": 32, "sequence": 4096, "global_batch": 2048,
            "space": EARLIER_MEGATRON, "base": {},
            "mapping": {"tp": tp, "sp": tp > 1, "pp": pp, "vpp": vpp, "ep": ep, "micro_batch": 1, "recompute": recompute,
                        "schedule": "interleaved" if vpp > 1 else "1f1b"}}


MAPPINGS = {
    "deepseek-v3": {
        "model": "deepseek-v3", "cluster": "h800-2048", "nodes": 0, "sequence": 4096, "global_batch": 15360,
        "calibration": "tables/h800", "space": HAI_LLM,
        "base": {"precision": "fp8", "fp8_activation_input": True, "mtp": "on", "moment_dtype": "bf16"},
        "mapping": {"pp": 16, "ep": 64, "micro_batch": 1, "schedule": "dualpipe", "dispatcher": "two_level",
                    "recompute": ["layernorm", "mla_up_proj", "moe_act"], "overlap": {"shared_expert": True}}},
    "pai qwen3-235b tp2 pp32 ep8": qwen235(32, 8, 2, 3, ["layernorm", "moe_act"]),
    "pai qwen3-235b tp1 pp32 ep8": qwen235(32, 8, 1, 3, ["layernorm", "moe"]),
    "pai qwen3-235b tp2 pp8 ep8": qwen235(8, 8, 2, 1, ["layernorm", "moe_act"]),
    "pai qwen3-235b tp4 pp8 ep8": qwen235(8, 8, 4, 4, []),
    "pai qwen3-235b tp2 pp8 ep32": qwen235(8, 32, 2, 4, ["layernorm", "moe_act"]),
    "bridge qwen3-30b ep16": {
        "model": "qwen3-30b-a3b", "cluster": "h100-64", "nodes": 2, "sequence": 4096, "global_batch": 1024,
        "space": MEGATRON_FLEX, "base": {"precision": "fp8"},
        "mapping": {"ep": 16, "micro_batch": 1, "schedule": "1f1b", "dispatcher": "two_level",
                    "overlap": {"dp_buckets": True}}},
    "bridge qwen3-30b pp2 ep8": {
        "model": "qwen3-30b-a3b", "cluster": "h100-64", "nodes": 2, "sequence": 4096, "global_batch": 1024,
        "space": MEGATRON, "base": {"precision": "fp8"},
        "mapping": {"pp": 2, "vpp": 12, "ep": 8, "micro_batch": 1, "schedule": "interleaved",
                    "overlap": {"dp_buckets": True}}},
    "bridge gpt-oss-120b": {
        "model": "gpt-oss-120b", "cluster": "h100-64", "nodes": 8, "sequence": 4096, "global_batch": 1280,
        "space": MEGATRON, "base": {},
        "mapping": {"pp": 4, "ep": 8, "micro_batch": 1, "schedule": "1f1b", "recompute": ["layernorm", "moe_act"],
                    "overlap": {"dp_buckets": True}}},
}


def run(orrery, *arguments):
    return subprocess.run([orrery, *arguments], capture_output=True, text=True, check=False)


def seconds(text):
    value, unit = text.split()
    return float(value) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[unit]


def prepare(orrery, m, folder, fabric=None):
    """Writes the plan of a mapping to folder/plan.json. What the plan takes on the command line, the strategy without the
    mapping, and what `orrery fit` said. `fabric`: keys of the cluster's that are other ones."""
    repository = Path(__file__).resolve().parent.parent
    inputs = [m["model"], m["cluster"]]
    workload = ["--sequence", str(m["sequence"]), "--global-batch", str(m["global_batch"])]
    calibration = []
    if "calibration" in m:
        calibration = ["--calibration", str(repository / "catalog/calibration" / (m["calibration"] + ".json"))]
    if m["nodes"] or fabric:
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


def row_of(orrery, name, folder):
    m = MAPPINGS[name]
    strategy, plan = folder / "strategy.json", folder / "plan.json"
    common, workload, calibration, base, fit = prepare(orrery, m, folder)
    if not plan.exists():
        return f"| {name} | refused: {fit.stderr.strip().splitlines()[0]} | | | | |"
    estimate = run(orrery, "estimate", str(plan), *calibration, "--json")
    published = seconds(json.loads(estimate.stdout)["step_time"])
    strategy.write_text(json.dumps(base))
    conditions = m["space"] + ["order=tp-cp-ep-dp-pp"]  # the one that all of these trainers have
    where = [word for condition in conditions for word in ("--where", condition)]
    found = run(orrery, "plan", *common, "--strategy", str(strategy), *workload, *calibration, "--no-simulation", "--json",
                *where)
    plan.unlink()
    if found.returncode != 0:
        return f"| {name} | {published:.2f} s | no plan: {found.stderr.strip().splitlines()[-1]} | | | |"
    report = json.loads(found.stdout)
    first = report["ranked"][0]
    best = seconds(first["analytic"])
    text = "tp {tp} pp {pp} ep {ep} mb {micro_batch} {schedule} {overlap} {recompute}".format(**first)
    fits = "yes" if fit.returncode == 0 else "no"
    gap = f"{report['gap'] * 100:.1f} %" if "gap" in report else "-"
    return f"| {name} | {published:.2f} s | {fits} | {best:.2f} s | {(published / best - 1) * 100:+.1f} % | {text} | {gap} |"


def main():
    orrery, names = sys.argv[1], sys.argv[2:] or list(MAPPINGS)
    print("| mapping | predicted | fits | best in the space | over it | the best one | gap of the search |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            print(row_of(orrery, name, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
