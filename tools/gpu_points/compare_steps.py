#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares measured steps (torch_steps.py) with what Orrery predicts for the same model on one such device.

Usage: compare_steps.py FILE ORRERY DEVICE [CALIBRATION]

Prints, for each row and phase, measured and predicted milliseconds: kernels that multiply, by kind, and the rest; of
short rows, where the device waits for its host, how many kernels the host starts and what one costs it. The
prediction is `orrery estimate` of a plan with one device; CALIBRATION is a file, the catalog's tables of kernels by
default. Its optimizer is not compared: the measured one keeps everything in bf16.
"""

import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL_TYPES = {"Mixtral": "mixtral", "Qwen3Moe": "qwen3_moe", "DeepseekV3": "deepseek_v3", "Llama": "llama"}
PHASES = {"fwd": "forward", "igrad": "backward", "wgrad": "backward"}
# Ops whose kernels multiply; all others are counted as the rest.
KINDS = {"attn.core": "attention", "moe.fc1": "grouped", "moe.fc2": "grouped"}
PRODUCTS = ("attn.qkv", "attn.q", "attn.kv", "attn.out", "mlp.fc", "moe.shared_fc", "moe.router", "head.logits")


def cluster_of(device):
    return {"schema": "cluster/1", "groups": [{
        "name": device, "nodes": 1, "devices_per_node": 1, "device": device,
        "scale_up": {"kind": "nvlink", "span_nodes": 1, "per_device": "450 GB/s", "latency": "3 us"},
        "nics": {"per_node": 1, "each": "400 Gbps", "rails": 1, "latency": "3 us"},
        "host": {"pcie": "64 GB/s", "memory": None}}],
        "fabric": {"kind": "rail_leaf_spine", "nodes_per_leaf": 1, "oversubscription": 1.0, "planes": 1},
        "gateways": [], "price": None, "pue": None, "carbon_intensity": None, "failures": None}


def predicted_spans(row, orrery, device, calibration, folder):
    config = dict(row["config"])
    name = config.pop("class")
    config |= {"model_type": MODEL_TYPES[name], "architectures": [name + "ForCausalLM"], "tie_word_embeddings": False,
               "hidden_act": "silu", "rms_norm_eps": 1e-6}
    files = {"model": config, "cluster": cluster_of(device),
             "strategy": {"schema": "strategy/1", "micro_batch": row["micro_batch"]}}
    for key, value in files.items():
        (folder / f"{key}.json").write_text(json.dumps(value))
    paths = [str(folder / f"{key}.json") for key in files]
    plan, trace = str(folder / "plan.json"), str(folder / "trace.json")
    for command in (["fit", *paths, "--sequence", str(row["sequence"]), "--global-batch", str(row["micro_batch"]),
                     "--calibration", calibration, "--out", plan], ["estimate", plan, "--trace", trace]):
        run = subprocess.run([orrery, *command], capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr)
    for line in open(trace):
        span = json.loads(line).get("span")
        if span:
            yield span[2].split("/")[-2:], span[6] - span[5]


def kind_of(op):
    return KINDS.get(op) or ("product" if op.startswith(PRODUCTS) else "rest")


def predicted(row, *how):
    times = collections.defaultdict(float)
    for (pass_, op), seconds in predicted_spans(row, *how):
        if pass_ in PHASES:
            times[PHASES[pass_], kind_of(op)] += seconds
    return times


def measured(row):
    times = collections.defaultdict(float)
    for phase, found in row["kernels"].items():
        for kind, (_, seconds) in found["kinds"].items():
            times[phase, kind if kind in ("product", "grouped", "attention") else "rest"] += seconds
    return times


def main():
    file, orrery, device = sys.argv[1:4]
    calibration = sys.argv[4] if len(sys.argv) > 4 else str(ROOT / f"catalog/calibration/tables/{device}.json")
    kinds = ("product", "grouped", "attention", "rest")
    ratios = collections.defaultdict(list)
    print(f"{'':34}" + "".join(f"{kind:>24}" for kind in (*kinds, "phase")))
    with tempfile.TemporaryDirectory() as folder:
        for row in map(json.loads, open(file)):
            if row["kind"] != "step":
                continue
            ours, theirs = predicted(row, orrery, device, calibration, pathlib.Path(folder)), measured(row)
            for phase in ("forward", "backward"):
                cells = [(ours[phase, kind], theirs[phase, kind]) for kind in kinds]
                cells.append((sum(cell[0] for cell in cells), row["seconds"][phase]))
                title = f"{row['model'][:16]} {row['micro_batch']} x {row['sequence']} {phase}"
                print(f"{title:34}" + "".join(
                    f"{a * 1e3:8.2f} {b * 1e3:8.2f} {a / b - 1:+6.1%}" if b else f"{a * 1e3:8.2f} {'-':>15}"
                    for a, b in cells))
                if row["sequence"] < 1024:
                    count = sum(number for number, _ in row["kernels"][phase]["kinds"].values())
                    host = row["host"][phase]
                    print(f"{'':34}  {count} kernels, host {host * 1e3:.1f} ms, {host / count * 1e6:.0f} us each")
                else:
                    for kind, (a, b) in zip((*kinds, "phase"), cells):
                        if b:
                            ratios[phase, kind].append(a / b - 1)
    print("median of rows with 1024 tokens and more, predicted over measured:")
    for (phase, kind), values in sorted(ratios.items()):
        print(f"  {phase:9} {kind:10} {statistics.median(values):+6.1%}  ({min(values):+.1%} to {max(values):+.1%})")


main()
