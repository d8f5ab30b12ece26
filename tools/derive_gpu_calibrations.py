#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes catalog/calibration/tables/DEVICE.json from published tables of kernels, for every device of the catalog.

Usage: derive_gpu_calibrations.py KERNEL_TABLES_JSON OPERATORS_JSON [OUTPUT_DIR]

KERNEL_TABLES_JSON holds the NCCL tables of ai-dynamo/aiconfigurator, OPERATORS_JSON the operator points of SimuMax.
Numbers of kernels are constants below, each with its source; docs/design/kernels.md says how they were found.
Equal input gives equal bytes.
"""

import json
import pathlib
import re
import sys

import derive_h800_collectives as h800

AICONFIGURATOR = "ai-dynamo/aiconfigurator@095f58a nccl/{table}"
SIMUMAX = "MooreThreads/SimuMax@4dcaae5 configs/system/b200_bf16_ceperm.json: {efficiency:.4g} of 2250 Tflop/s"
MAMF = "stas00/ml-engineering@744d01e compute/accelerator: largest matmul rate found"

NCCL_TABLES = {"a100-40gb": "A100-SXM4-80GB nccl2.27.3", "h100-96gb": "H100-SXM5 nccl2.29.2",
               "h200-nvl": "H200-SXM nccl2.29.2", "a100": "A100-SXM4-80GB nccl2.27.3", "h100": "H100-SXM5 nccl2.29.2", "h200": "H200-SXM nccl2.29.2",
               "b200": "B200-SXM nccl2.29.2", "b300": "B200-SXM nccl2.29.2", "gb200": "B200-SXM nccl2.29.2",
               "gb300": "B200-SXM nccl2.29.2"}
OP_NAMES = {"alltoall": "all_to_all"}

# matmul: share of the peak that the main loop of the largest tile keeps up; ramp: start and end of a tile.
# a100: SimuMax's A100 PCIe points are fitted by 0.79 (0.76 to 0.82) at 170 inner columns, the SXM card draws 100 W more.
# h100, h200: the form fits aiconfigurator's cold tables with 0.88; the largest sustained rate is 0.803 of the peak.
# matmul_fp8: the largest sustained rates, 0.709 of the fp8 peak on H100 and 0.763 on B200, lowered as for bf16.
# b200: SimuMax's points, 0.50 to 0.52; the cold table says 0.78. AMD: the largest sustained rate.
KERNELS = {
    "a100": dict(matmul=0.82, matmul_fp8=0.82, ramp=170.0, attention_forward=0.6, attention_backward=0.5, memory=0.85),
    "h100": dict(matmul=0.75, matmul_fp8=0.66, ramp=170.0, attention_forward=0.6, attention_backward=0.5, memory=0.8),
    "b200": dict(matmul=0.52, matmul_fp8=0.51, ramp=100.0, attention_forward=0.45, attention_backward=0.4, memory=0.67),
    "mi300x": dict(matmul=0.51, matmul_fp8=0.45, ramp=170.0, attention_forward=0.35, attention_backward=0.3,
                   memory=0.7),
    "mi355x": dict(matmul=0.62, matmul_fp8=0.5, ramp=170.0, attention_forward=0.4, attention_backward=0.35, memory=0.7),
}
# One chip on several boards: the numbers hold at the power limit of the board that they were measured on.
SAME_CHIP = {"a100-40gb": "a100", "h200": "h100", "h200-nvl": "h100", "h800": "h100", "h100-96gb": "h100",
             "b300": "b200", "gb200": "b200", "gb300": "b200", "mi325x": "mi300x", "mi350x": "mi355x"}
POWER = {"a100": "400 W", "h100": "700 W", "b200": "1000 W", "mi300x": "750 W", "mi355x": "1400 W"}
LINKS = {"a100-40gb": ("300 GB/s", "25 GB/s"), "h200-nvl": ("450 GB/s", "50 GB/s"),
         "h100-96gb": ("450 GB/s", "50 GB/s"), "h800": ("200 GB/s", "50 GB/s"), "mi325x": ("448 GB/s", "50 GB/s"),
         "mi350x": ("537.6 GB/s", "50 GB/s"), "a100": ("300 GB/s", "25 GB/s"), "h100": ("450 GB/s", "50 GB/s"), "h200": ("450 GB/s", "50 GB/s"),
         "b200": ("900 GB/s", "50 GB/s"), "b300": ("900 GB/s", "100 GB/s"), "gb200": ("900 GB/s", "50 GB/s"),
         "gb300": ("900 GB/s", "100 GB/s"), "mi300x": ("448 GB/s", "50 GB/s"), "mi355x": ("537.6 GB/s", "50 GB/s")}


def microseconds(seconds):
    return f"{seconds * 1e6:.6g} us"


def collectives(device, kernel_tables):
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


def simumax_points(operators):
    system = operators["simumax_measured_operator_efficiency"]["systems"]["b200_bf16_ceperm"]
    points = {}

    def add(op, pass_, shape, flops, efficiency):
        key = (op, pass_, tuple(shape.items()))
        points[key] = {"op": op, "pass": pass_, "dtype": "bf16", "shape": shape,
                       "time": microseconds(flops / (efficiency * 2250e12)), "spread": None, "repeats": None,
                       "source": SIMUMAX.format(efficiency=efficiency)}

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


def software(device):
    if device == "h800":
        return "NCCL 2.29.2, DeepEP v1"
    return f"NCCL as in {NCCL_TABLES[device]}" if device in NCCL_TABLES else "no table of collectives"


def calibration(device, kernel_tables, operators):
    node, rail = LINKS[device]
    chip = SAME_CHIP.get(device, device)
    kernels = dict(KERNELS[chip])
    kernels.update(kernel="3 us", dispatch="20 us", network=0.85, grouped=0.9, materialized_attention=False,
                   source="published tables of kernels, docs/design/kernels.md; no training run")
    return {"schema": "calibration/1", "device": device, "driver": None,
            "software": software(device),
            "conditions": {"power_limit": POWER[chip], "clock": None, "input": None, "active_ranks": 1,
                           "links": {"node": node, "rail": rail}},
            "points": simumax_points(operators) if device == "b200" else [],
            "collectives": collectives(device, kernel_tables), "launch": None, "power": None, "fits": None,
            "kernels": kernels}


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
    output = pathlib.Path(sys.argv[3] if len(sys.argv) > 3 else "catalog/calibration/tables")
    for device in LINKS:
        (output / f"{device}.json").write_text(lines(calibration(device, kernel_tables, operators)))


if __name__ == "__main__":
    main()
