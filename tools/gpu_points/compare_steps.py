#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares measured steps (torch_steps.py) with what Orrery predicts for the same model on one such device.

Usage: compare_steps.py FILE ORRERY DEVICE [CALIBRATION]

Prints, for each row and phase, measured and predicted milliseconds: kernels that multiply, by kind, and the rest; of
short rows, where the device waits for its host, how many kernels the host starts and what one costs it. Then, of each
row, the mean power of its step in W: measured; what docs/design/power.md makes of the measured times of kernels, and of
the predicted ones; what one power at work gives, the mean of the fused steps of FILE's device; and what the same powers
give where products draw the limit and nobody profits from what others save.
The prediction is `orrery estimate` of a plan with one device; CALIBRATION is a file, the catalog's tables of kernels by
default. Its optimizer is not compared: the measured one keeps everything in bf16. Casts to fp8 are in products where
they are predicted, in the rest where they are measured.
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


def si(text):
    """A time or an energy of a report, in s or J."""
    number, unit = text.split()
    return float(number) * {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}.get(unit[0] if len(unit) > 1 else "", 1.0)


def predicted_spans(row, orrery, device, calibration, folder):
    config = dict(row["config"])
    name = config.pop("class")
    config |= {"model_type": MODEL_TYPES[name], "architectures": [name + "ForCausalLM"], "tie_word_embeddings": False,
               "hidden_act": "silu", "rms_norm_eps": 1e-6}
    files = {"model": config, "cluster": cluster_of(device),
             "strategy": {"schema": "strategy/1", "micro_batch": row["micro_batch"],
                          "precision": row.get("precision", "bf16"), "fp8_recipe": "tensorwise"}}
    for key, value in files.items():
        (folder / f"{key}.json").write_text(json.dumps(value))
    paths = [str(folder / f"{key}.json") for key in files]
    plan, trace = str(folder / "plan.json"), str(folder / "trace.json")
    said = {}
    for command in (["fit", *paths, "--sequence", str(row["sequence"]), "--global-batch", str(row["micro_batch"]),
                     "--calibration", calibration, "--out", plan], ["estimate", plan, "--trace", trace, "--json"]):
        run = subprocess.run([orrery, *command], capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr)
        said = run.stdout
    said = json.loads(said)
    spans = (json.loads(line).get("span") for line in open(trace))
    return [(span[2].split("/")[-2:], span[6] - span[5]) for span in spans if span], si(said["energy"]) / si(said["step_time"])


def kind_of(op):
    return KINDS.get(op) or ("product" if op.startswith(PRODUCTS) else "rest")


def predicted(row, *how):
    times = collections.defaultdict(float)
    spans, watts = predicted_spans(row, *how)
    for (pass_, op), seconds in spans:
        if pass_ in PHASES:
            times[PHASES[pass_], kind_of(op)] += seconds
    return times, watts


def measured(row):
    times = collections.defaultdict(float)
    for phase, found in row["kernels"].items():
        for kind, (_, seconds) in found["kinds"].items():
            times[phase, kind if kind in ("product", "grouped", "attention") else "rest"] += seconds
    return times


def mean_power_of_fused_steps(file):
    path = pathlib.Path(file)
    rows = map(json.loads, path.with_name(path.name.split("-")[0] + "-steps-compiled.jsonl").open())
    return statistics.mean(row["power"] for row in rows if row["kind"] == "step")


def powers(row, theirs, calibration, at_work):
    """Of the step by its kernels: as the model has it, `at_work` for all of them, and each kind at what it draws alone."""
    watts = {key: float(value["value"].split()[0]) for key, value in calibration["power"].items() if value}
    step = sum(row["seconds"].values())
    streaming = sum(seconds for (_, kind), seconds in theirs.items() if kind == "rest")
    products = sum(theirs.values()) - streaming
    longer = max(step, products + streaming)  # a profiled kernel may take a little more than in the step
    rest = watts["streaming"] * streaming + watts["waiting"] * (longer - products - streaming)
    limit = watts["limit"] * (products + streaming) - watts["streaming"] * streaming
    one = at_work * (products + streaming) + watts["waiting"] * (longer - products - streaming)
    return ((min(watts["products"] * products, limit) + rest) / longer, one / longer,
            (watts["limit"] * products + rest) / longer)


def main():
    file, orrery, device = sys.argv[1:4]
    calibration = sys.argv[4] if len(sys.argv) > 4 else str(ROOT / f"catalog/calibration/tables/{device}.json")
    at_work = mean_power_of_fused_steps(file)
    kinds = ("product", "grouped", "attention", "rest")
    ratios, drawn = collections.defaultdict(list), []
    print(f"{'':38}" + "".join(f"{kind:>24}" for kind in (*kinds, "phase")))
    with tempfile.TemporaryDirectory() as folder:
        for row in map(json.loads, open(file)):
            if row["kind"] != "step":
                continue
            (ours, watts), theirs = predicted(row, orrery, device, calibration, pathlib.Path(folder)), measured(row)
            by_kernels, one, alone = powers(row, theirs, json.loads(pathlib.Path(calibration).read_text()), at_work)
            drawn.append((row, row["power"], by_kernels, watts, one, alone))
            for phase in ("forward", "backward"):
                cells = [(ours[phase, kind], theirs[phase, kind]) for kind in kinds]
                cells.append((sum(cell[0] for cell in cells), row["seconds"][phase]))
                title = f"{row['model'][:16]} {row.get('precision', '')} {row['micro_batch']} x {row['sequence']} {phase}"
                print(f"{title:38}" + "".join(
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
    print(f"{'W of the step':30}{'measured':>10}{'from its kernels':>18}{'predicted':>18}{'one at work':>18}{'each kind alone':>18}")
    for row, theirs, *ours in drawn:
        title = f"{row['model'][:16]} {row['micro_batch']} x {row['sequence']}"
        print(f"{title:30}{theirs:10.0f}" + "".join(f"{watts:10.0f} {watts / theirs - 1:+6.1%}" for watts in ours))
    for name, short in (("1024 tokens and more", False), ("64 tokens", True)):
        rows = [values for row, *values in drawn if (row["sequence"] < 1024) == short]
        if rows:
            means = [statistics.mean(abs(values[i] / values[0] - 1) for values in rows) for i in (1, 2, 3, 4)]
            print(f"{'mean error, ' + name:40}" + "".join(f"{mean:17.1%} " for mean in means))


main()
