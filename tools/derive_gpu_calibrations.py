#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes catalog/calibration/tables/DEVICE.json from published tables of kernels, for every device of the catalog.

Usage: derive_gpu_calibrations.py KERNEL_TABLES_JSON OPERATORS_JSON COLLECTIVES_JSON [OUTPUT_DIR [DEVICE...]]

KERNEL_TABLES_JSON holds the NCCL tables of ai-dynamo/aiconfigurator, OPERATORS_JSON the operator points of SimuMax,
COLLECTIVES_JSON published curves of collectives (docs/formats/collective-curves.md), of which those of AMD are taken;
what tools/gpu_points measured is read from docs/validation/gpu.
Numbers of kernels are constants below, each with its source; docs/design/kernels.md says how they were found.
Equal input gives equal bytes.
"""

import csv
import json
import pathlib
import re
import sys

import derive_h800_collectives as h800

AICONFIGURATOR = "ai-dynamo/aiconfigurator@095f58a nccl/{table}"
SIMUMAX = "MooreThreads/SimuMax@4dcaae5 configs/system/{system}.json: {efficiency:.4g} of {peak} Tflop/s"
# An A100 on PCIe, of 300 W, stands for the SXM boards.
SIMUMAX_SYSTEMS = {"b200": "b200_bf16_ceperm", "a100": "a100_pcie_bf16", "a100-40gb": "a100_pcie_bf16"}
MAMF = "stas00/ml-engineering@744d01e compute/accelerator: largest matmul rate found"

NCCL_TABLES = {"a100-40gb": "A100-SXM4-80GB nccl2.27.3", "h100-96gb": "H100-SXM5 nccl2.29.2",
               "h200-nvl": "H200-SXM nccl2.29.2", "a100": "A100-SXM4-80GB nccl2.27.3", "h100": "H100-SXM5 nccl2.29.2", "h200": "H200-SXM nccl2.29.2",
               "b200": "B200-SXM nccl2.29.2", "b300": "B200-SXM nccl2.29.2", "gb200": "B200-SXM nccl2.29.2",
               "gb300": "B200-SXM nccl2.29.2"}
OP_NAMES = {"alltoall": "all_to_all"}
# How RCCL's curves name the device that was measured, and bytes between which a curve is taken. MI350X: training has a
# process for each GPU, but from 512 MiB on those results are said to be anomalous, and beyond stands the sweep of one
# process. MI350X and MI355X have one chip and its links. Of MI300X one size is known, 8 MiB, which would stand for the
# rate of all: left out.
MI350X_CURVES = [("MI350X (8 MPI ranks)", 0, 2**28), ("MI350X (single process", 2**28 + 1, 2**40)]
RCCL_CURVES = {"mi250x": [("MI200-series", 0, 2**40)], "mi350x": MI350X_CURVES, "mi355x": MI350X_CURVES}

# matmul: share of the peak that the main loop of the largest tile keeps up; ramp: start and end of a tile.
# a100, h100, b200: orrery validate catalog/calibration/tables/DEVICE.json, between what H100 and H200 give; points of a100
# and b200 are SimuMax's. matmul_fp8 of b200 as its bf16: the largest sustained rate found is 0.763 of the fp8 peak, 0.78 of
# that of bf16.
# AMD: the largest sustained rate; attention as if it took as long for 32 heads of 4096 tokens as a guess without masks and
# tails had it, 0.35 to 0.4 of the peak.
KERNELS = {
    "a100": dict(matmul=0.775, matmul_fp8=0.775, ramp=64.0, grouped=0.95, attention_forward=0.64,
                 attention_backward=0.6, memory=0.85, kernel="2 us"),
    "h100": dict(matmul=0.765, matmul_fp8=0.67, ramp=220.0, grouped=0.93, attention_forward=0.65,
                 attention_backward=0.58, memory=0.8, kernel="2 us"),
    "b200": dict(matmul=0.5, matmul_fp8=0.5, ramp=42.0, grouped=0.95, expert="4 us", attention_forward=0.45, attention_backward=0.46,
                 memory=0.67),
    "mi300x": dict(matmul=0.51, matmul_fp8=0.45, ramp=170.0, attention_forward=0.39, attention_backward=0.36,
                   memory=0.7),
    "mi355x": dict(matmul=0.62, matmul_fp8=0.5, ramp=170.0, attention_forward=0.45, attention_backward=0.42, memory=0.7),
}
# Which of these numbers points say, which somebody else states, and which nobody does: kernels.source of the files.
POINTS_OF_H100 = "tools/gpu_points on an H100 and an H200, docs/validation/gpu"
SOURCES = {
    "a100": "matmul, ramp, grouped, attention: near least squares over the points of this file (SimuMax, an A100 on PCIe of "
            "300 W); matmul_fp8: as matmul; memory, kernel: stated, no point",
    "h100": f"matmul, matmul_fp8, ramp, grouped, attention, memory: near least squares over points ({POINTS_OF_H100}); "
            "fp8_blocks, flash_2, taken: measured there; kernel: stated",
    "b200": "matmul, ramp, grouped, attention: near least squares over SimuMax's points of a B200; matmul_fp8: as matmul, "
            f"since 3432.5 of 4500 Tflop/s in fp8 and 1745 of 2250 in bf16 are shares alike ({MAMF}); memory, kernel: stated, "
            "no point; flash_2: a guess, as many operations a second as on Hopper",
    "mi300x": f"matmul: 668.4 Tflop/s at 10240 x 15360 x 8192 ({MAMF}); matmul_fp8, ramp, grouped, attention, memory, kernel: "
              "guesses, no point",
    "mi355x": f"matmul: 1565 Tflop/s at 12288 x 8192 x 8192 ({MAMF}); matmul_fp8, ramp, grouped, attention, memory, kernel: "
              "guesses, no point",
}


def source_of_kernels(device, chip):
    measured_here = "the same chip" if device in MEASURED or device in SIMUMAX_SYSTEMS else "no point of this device"
    if device in OWN_POWER:
        measured_here = f"at {OWN_POWER[device]:g} W by the cube root, points of this device of attention alone"
    whose = f"numbers of {chip}, {measured_here}: " if chip != device else ""
    exponentials = "; exponentials: NVIDIA, \"Inside NVIDIA Blackwell Ultra\", 2025" if device in EXPONENTIALS else ""
    return (f"{whose}{SOURCES[chip]}{exponentials}; dispatch, network: stated; tables of kernels, docs/design/kernels.md; "
            "no training run")


# FlashAttention 2 over cuDNN, and fp8 with blocks of 128 over one scale a tensor: docs/validation/gpu/h100.jsonl. On
# Blackwell FlashAttention 2 is taken to do as many operations a second as on Hopper: nobody measured it.
FLASH_2 = {"h100": 0.56, "b200": 0.33}
# Over all shapes and passes together the files say 0.83 (forward 0.87, weight gradient 0.75); the factors of training were
# fitted with 0.82, so the two change together.
FP8_BLOCKS = {"h100": 0.82}
# Exponentials that a multiprocessor takes in a clock; 16 elsewhere. Blackwell Ultra has twice as many: 10.7 instead of 5
# Texponentials a second (NVIDIA, "Inside NVIDIA Blackwell Ultra", 2025).
EXPONENTIALS = {"b300": 32, "gb300": 32}
# Products beside a kernel that holds 20 multiprocessors and copies or spins: as if 30 were missing (the same file).
TAKEN = {"h100": 30}
# One chip on several boards: the numbers hold at the power limit of the board that they were measured on.
SAME_CHIP = {"a100-40gb": "a100", "h200": "h100", "h200-nvl": "h100", "h800": "h100", "h100-96gb": "h100",
             "b300": "b200", "gb200": "b200", "gb300": "b200", "mi325x": "mi300x", "mi350x": "mi355x"}
POWER = {"a100": "300 W", "h100": "700 W", "b200": "1000 W", "mi300x": "750 W", "mi355x": "1400 W"}
DEVICES = pathlib.Path(__file__).parent.parent / "catalog" / "devices"
# Boards with points of their own, beside the numbers of another one of the chip: all hold at the own limit.
OWN_POWER = {device: float(json.loads((DEVICES / f"{device}.json").read_text())["power_limit"]["value"].split()[0])
             for device in ("gb200", "gb300")}
LINKS = {"mi250x": ("400 GB/s",), "a100-40gb": ("300 GB/s", "25 GB/s"), "h200-nvl": ("450 GB/s", "50 GB/s"),
         "h100-96gb": ("450 GB/s", "50 GB/s"), "h800": ("200 GB/s", "50 GB/s"), "mi325x": ("448 GB/s", "50 GB/s"),
         "mi350x": ("537.6 GB/s", "50 GB/s"), "a100": ("300 GB/s", "25 GB/s"), "h100": ("450 GB/s", "50 GB/s"), "h200": ("450 GB/s", "50 GB/s"),
         "b200": ("900 GB/s", "50 GB/s"), "b300": ("900 GB/s", "100 GB/s"), "gb200": ("900 GB/s", "50 GB/s"),
         "gb300": ("900 GB/s", "100 GB/s"), "mi300x": ("448 GB/s", "50 GB/s"), "mi355x": ("537.6 GB/s", "50 GB/s")}


GPU_POINTS = pathlib.Path(__file__).parent.parent / "docs" / "validation" / "gpu"
# An H800 is an H100 with fewer links. Other boards have the chip, but another memory or power limit.
OTHER_BOARDS = ("h100-96gb", "h200-nvl")
MEASURED = {"h100": "h100", "h200": "h200", "h800": "h100", "h100-96gb": "h100", "h200-nvl": "h200"}


def microseconds(seconds):
    return f"{seconds * 1e6:.6g} us"


def rccl(device, curves):
    """Published curves of RCCL on one node; in place where a source says that its other column has outliers."""
    out = {}
    for entry in curves["entries"]:
        range_ = next(((least, most) for name, least, most in RCCL_CURVES[device] if entry["gpu"].startswith(name)), None)
        if not range_ or entry.get("nodes") != 1 or "p2p" in entry["op"]:
            continue
        op, ranks, columns = entry["op"], entry.get("n_gpus", entry.get("gpus_per_node")), entry["columns"]
        place = entry["source"]
        source = place.get("note") or place.get("url") or f"{place['repo']}@{place['commit'][:7]} {place['path']}"
        in_place = any("use in-place" in flag for flag in entry.get("flags", []))
        for row in entry["data"]:
            point = dict(zip(columns, row))
            if "time_s" in point:  # of torch, sizes in MiB; a rank of an exchange sends its part of the size
                size = point["size_MB"] * 2**20 / (ranks if op == "all_to_all" else 1)
                time = point["time_s"]
            else:
                size, time = point["size_B"], point["ip_time_us" if in_place else "oop_time_us"] * 1e-6
            if range_[0] <= size <= range_[1]:
                out[op, ranks, int(size)] = {
                    "op": op, "path": "node", "ranks": ranks, "nodes": 1, "bytes": f"{int(size)} B",
                    "time": microseconds(time),
                    "source": f"{entry['gpu']}, {entry['library']}{', in place' if in_place else ''}: {source}"}
    return [out[key] for key in sorted(out)]


def collectives(device, kernel_tables, curves):
    if device in RCCL_CURVES:
        return rccl(device, curves)
    if device == "h800":
        return [*h800.start_up(kernel_tables), *h800.deepep()]
    if device not in NCCL_TABLES:
        return []
    name = NCCL_TABLES[device]
    out = []
    for key, rows in kernel_tables["nccl_single_node"]["tables"][name].items():
        op, ranks = key.split("/")
        for size, time in rows:
            out.append({"op": OP_NAMES.get(op, op), "path": "node", "ranks": int(ranks), "nodes": 1,
                        "bytes": f"{size} B", "time": microseconds(time * 1e-6),
                        "source": AICONFIGURATOR.format(table=name)})
    return out


def fields(text):
    return dict(part.split("=") for part in text.split(", "))


def simumax_points(device, operators):
    name = SIMUMAX_SYSTEMS[device]
    system = operators["simumax_measured_operator_efficiency"]["systems"][name]
    peak = system["matmul"]["peak_tflops"]
    points = {}

    def add(op, pass_, shape, flops, efficiency):
        key = (op, pass_, tuple(shape.items()))
        points[key] = {"op": op, "pass": pass_, "dtype": "bf16", "shape": shape,
                       "time": microseconds(flops / (efficiency * peak * 1e12)), "spread": None, "repeats": None,
                       "source": SIMUMAX.format(system=name, efficiency=efficiency, peak=peak)}

    for text, efficiency in system["matmul"]["points"].items():
        f = fields(text)
        m, k, n = int(f["m"]), int(f["k"]), int(f["n"])
        flops = 2 * m * k * n
        # Transformer Engine's layouts: TN the forward, NN the input gradient, NT the weight gradient. A pass carries
        # the shape of its forward: y[m, n] = x[m, k] w[n, k]^T.
        if f["layout"] == "TN":
            add("gemm", "fwd", {"m": m, "n": n, "k": k}, flops, efficiency)
        elif f["layout"] == "NN":
            add("gemm", "igrad", {"m": m, "n": k, "k": n}, flops, efficiency)
        elif f["out_dtype"] == "fp32":
            add("gemm", "wgrad", {"m": k, "n": m, "k": n}, flops, efficiency)
    for text, efficiency in system["group_matmul"]["points"].items():
        f = fields(text)
        groups, m, n, k = int(f["ng"]), int(f["M"]), int(f["N"]), int(f["K"])
        pass_ = {"fwd": "fwd", "bwd_grad_act": "igrad", "bwd_grad_w": "wgrad"}[f["stage"]]
        add("grouped_gemm", pass_, {"num_groups": groups, "m_per_group": m, "n": n, "k": k},
            2 * groups * m * n * k, efficiency)
    for table, pass_, factor in (("sdp_fwd", "fwd", 1.0), ("sdp_bwd", "igrad", 2.5)):
        for text, efficiency in system[table]["points"].items():
            f = fields(text)
            if f["qkv_contiguous"] != "True":
                continue
            batch, seq, heads = int(f["batch"]), int(f["seq_len"]), int(f["head_num"])
            d_qk, d_v = int(f["qk_head_dim"]), int(f["v_head_dim"])
            # SimuMax counts all pairs of a causal kernel: its A100 points would else lie above the peak.
            flops = factor * 2 * batch * heads * seq * seq * (d_qk + d_v)
            add("attention", pass_,
                {"batch": batch, "heads": heads, "kv_heads": int(f["kv_head_num"]), "seq": seq, "d_qk": d_qk,
                 "d_v": d_v, "causal": True}, flops, efficiency)
    return list(points.values())


def measured(device, more=""):
    """Rows of tools/gpu_points on this device, or nothing."""
    if device not in MEASURED:
        return []
    return [json.loads(line) for line in (GPU_POINTS / f"{MEASURED[device]}{more}.jsonl").read_text().splitlines()]


def is_point(row, device):
    """Attention: cuDNN's. Products of experts: in one kernel; the weight gradient of that kernel writes bf16 and adds to
    nothing, so here four streams stand, and its fp8 is a kernel that one framework alone calls."""
    if row["kind"] != "point" or row["dtype"] == "fp8_blocks" or row.get("software") == "FlashAttention":
        return False
    if row["op"] == "memory":
        return device not in OTHER_BOARDS
    if row["op"] != "grouped_gemm":
        return True
    return row["dtype"] == "bf16" and (row["pass"] == "wgrad") != (row.get("software") == "torch")


def measured_points(device):
    same = ": the same chip" if MEASURED.get(device, device) != device else ""
    return [{"op": r["op"], "pass": r["pass"], "dtype": r["dtype"], "shape": r["shape"],
             "time": microseconds(r["time"]), "spread": microseconds(r["spread"]), "repeats": r["repeats"],
             "source": f"docs/validation/gpu/{MEASURED[device]}{more}.jsonl{same}"}
            for more in ("", "-more") for r in measured(device, more) if is_point(r, device)]


def attention_points(device):
    """cuDNN's own benchmark on racks of Blackwell: docs/validation/gpu/cudnn-attention.csv says where it stands."""
    file = GPU_POINTS / "cudnn-attention.csv"
    rows = csv.DictReader(line for line in file.read_text().splitlines() if not line.startswith("#"))
    shape = ("batch", "heads", "kv_heads", "seq", "d_qk", "d_v")
    return [{"op": "attention", "pass": pass_, "dtype": "bf16",
             "shape": {**{key: int(row[key]) for key in shape}, "causal": True},
             "time": microseconds(float(row[column]) * 1e-3), "spread": None, "repeats": 10,
             "source": f"docs/validation/gpu/{file.name}: NVIDIA/cudnn-frontend@60e572b"}
            for row in rows if row["device"] == device for pass_, column in (("fwd", "fwd"), ("igrad", "bwd"))]


def points(device, operators):
    if device in SIMUMAX_SYSTEMS:
        return simumax_points(device, operators)
    return attention_points(device) if device in OWN_POWER else measured_points(device)


def at_own_power(device, numbers):
    """Numbers of another board of the chip at the limit of the own one, where its points hold: as a cube root, kernels.md."""
    if device not in OWN_POWER:
        return numbers
    clock = (OWN_POWER[device] / float(POWER[SAME_CHIP[device]].split()[0])) ** (1 / 3)
    rates = ("matmul", "matmul_fp8", "attention_forward", "attention_backward")
    return {key: round(value * clock, 4) if key in rates else value for key, value in numbers.items()}


def stated(device, kind, name, key, unit):
    """A number that gpu_points printed, as calibration/1 states it."""
    found = [r[key] for r in measured(device) if r["kind"] == kind and r["name"] == name and key in r]
    return {"value": f"{found[0]:.4g} {unit}", "source": f"docs/validation/gpu/{MEASURED[device]}.jsonl"} if found else None


def launch(device):
    if device not in MEASURED:
        return None
    # A graph's gap is in each point already; what is left between launched kernels is the host's (kernels.dispatch).
    return {"gap": None, "dispatch": stated(device, "launch", "host, torch product", "seconds", "s")}


def power_of_products(device, spinning):
    """At the full clock, from products with pauses long enough for it: W is the mean over both, and who pauses spins."""
    rows = [r for r in measured(device) if r["kind"] == "duty" and r["name"].endswith("a pause")]
    full = max(r["clock"] for r in rows)
    watts = []
    for row in rows:
        share = row["seconds"] / (row["seconds"] + row["pause"])
        if row["clock"] == full:
            watts.append((row["W"] - (1 - share) * spinning) / share)
    return {"value": f"{sum(watts) / len(watts):.4g} W",
            "source": f"docs/validation/gpu/{MEASURED[device]}.jsonl: products with pauses, at {full:.0f} MHz"}


def power(device):
    if device not in MEASURED or device in OTHER_BOARDS:
        return None
    spinning = stated(device, "power", "spinning on 20 multiprocessors", "W", "W")
    return {"idle": stated(device, "power", "idle", "W", "W"),
            "waiting": spinning,
            "products": power_of_products(device, float(spinning["value"].split()[0])),
            "streaming": stated(device, "power", "copying on all multiprocessors", "W", "W"),
            "communication": stated(device, "power", "copying on 20 multiprocessors", "W", "W"),
            "limit": stated(device, "head", "device", "power limit", "W")}


def head(device, name):
    return next((r["value"] for r in measured(device) if r["kind"] == "head" and r["name"] == name), None)


def software(device):
    kernels = "; kernels: CUDA 13, cuBLASLt 13.1, cuDNN 9.19, PyTorch 2.11" if device in MEASURED else ""
    if device == "h800":
        return "NCCL 2.29.2, DeepEP v1" + kernels
    if device in MEASURED:
        return f"NCCL as in {NCCL_TABLES[device]}" + kernels
    if device in RCCL_CURVES:
        return "RCCL as in curves of " + " and ".join(name for name, _, _ in RCCL_CURVES[device]).replace("(", "").replace(")", "")
    return f"NCCL as in {NCCL_TABLES[device]}" if device in NCCL_TABLES else "no table of collectives"


def calibration(device, kernel_tables, operators, curves):
    node, *rail = LINKS[device]
    links = {"node": node, **({"rail": rail[0]} if rail else {})}
    chip = SAME_CHIP.get(device, device)
    if chip not in KERNELS:  # nobody published a table: products and streams are those of no device
        return {"schema": "calibration/1", "device": device, "driver": None, "software": software(device),
                "conditions": {"power_limit": None, "clock": None, "input": None, "active_ranks": 1, "links": links},
                "points": [], "collectives": collectives(device, kernel_tables, curves), "launch": None, "power": None,
                "fits": None}
    kernels = {"grouped": 0.9, "kernel": "3 us", **at_own_power(device, KERNELS[chip])}
    kernels.update(dispatch="20 us", network=0.85, attention="fused", loss_forward=1.0, loss_backward=1.0,
                   fp8_blocks=FP8_BLOCKS.get(chip, 1.0), flash_2=FLASH_2.get(chip, 1.0), taken=TAKEN.get(chip, 20),
                   exponentials=EXPONENTIALS.get(device, 16),
                   source=source_of_kernels(device, chip))
    return {"schema": "calibration/1", "device": device, "driver": head(device, "driver"),
            "software": software(device),
            "conditions": {"power_limit": f"{OWN_POWER[device]:g} W" if device in OWN_POWER else POWER[chip], "clock": None, "input": "random normal" if device in MEASURED else None,
                           "active_ranks": 1,
                           "links": links},
            "points": points(device, operators),
            "collectives": collectives(device, kernel_tables, curves), "launch": launch(device), "power": power(device),
            "fits": None,
            "kernels": kernels}


def intervals(factors):
    """How far predictions from tables alone were off, as training.json has it: no number of a table is fitted to that."""
    known = json.loads(factors.read_text())["intervals"] if factors.exists() else {}
    names = {"interval": "zero-fit", "interval_moe": "zero-fit MoE"}
    return {key: known[name] for key, name in names.items() if name in known}


def lines(value):
    """JSON with one point a line."""
    text = json.dumps({k: v for k, v in value.items() if k not in ("points", "collectives")}, indent=1)
    for key in ("points", "collectives"):
        rows = ",\n    ".join(json.dumps(row) for row in value[key])
        text = text.replace('\n "launch"', f'\n "{key}": [\n    {rows}\n ],\n "launch"' if rows else
                            f'\n "{key}": [],\n "launch"', 1)
    return re.sub(r"\n\n+", "\n", text) + "\n"


def main():
    kernel_tables = json.loads(pathlib.Path(sys.argv[1]).read_text())
    operators = json.loads(pathlib.Path(sys.argv[2]).read_text())
    curves = json.loads(pathlib.Path(sys.argv[3]).read_text())
    output = pathlib.Path(sys.argv[4] if len(sys.argv) > 4 else "catalog/calibration/tables")
    errors = intervals(output.parent / "factors" / "training.json")
    for device in sys.argv[5:] or LINKS:
        table = calibration(device, kernel_tables, operators, curves) | errors
        (output / f"{device}.json").write_text(lines(table))


if __name__ == "__main__":
    main()
