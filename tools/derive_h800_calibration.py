#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes catalog/calibration/h800.json from published measurements of the same chip.

Usage: derive_h800_calibration.py KERNEL_TABLES_JSON [OUTPUT]

KERNEL_TABLES_JSON holds the GEMM and NCCL tables of ai-dynamo/aiconfigurator as {"gemm": {"tables": ...},
"nccl_single_node": {"tables": ...}}. Everything else is a constant below, next to its source. What is converted, and
what is left out on purpose, is explained in docs/design/h800-calibration.md. Equal input gives equal bytes.
"""

import json
import math
import sys

AICONFIGURATOR = "ai-dynamo/aiconfigurator@095f58a"
GEMM_SOURCE = f"{AICONFIGURATOR} gemm/vllm h100_sxm"
NCCL_SOURCE = f"{AICONFIGURATOR} nccl 2.29.2 H100-SXM5: start-up only, its NVLink is not the H800's"
FLASH_ATTENTION = "FlashAttention-3, arXiv 2407.08608, {figure}, H100 80GB SXM5, fp16, {rate} Tflop/s"
DEEPEP = "deepseek-ai/DeepEP docs/legacy.md, {what} EP{ranks}, H800, {rate} GB/s"
CALCULON = "calculon-ai/calculon@4f81f02 systems/h100_80g_nvl8.json: the model's table, {efficiency} of 3072 GB/s"

# NCCL rows up to this size tell start-up time; above it the NVLink of the H100 shows, which the H800 does not have.
LARGEST_STARTUP_BYTES = 32768

# Rates read off figures 5b, 5d and 6b: 16384 tokens a batch, hidden width 2048, head dimension 128.
ATTENTION_SEQUENCES = [512, 1024, 2048, 4096, 8192, 16384]
ATTENTION_RATES = [
    ("fwd", False, "fig. 5 forward without mask", [467, 565, 625, 638, 646, 648]),
    ("fwd", True, "fig. 5 forward causal", [292, 423, 521, 579, 602, 616]),
    ("igrad", False, "fig. 6 backward without mask", [316, 424, 501, 542, 559, 561]),
]
ATTENTION_TOKENS, ATTENTION_HEADS, ATTENTION_HEAD_DIM = 16384, 16, 128

# 4096 tokens of width 7168 on each rank, top 8 of 256 experts; FP8 with one fp32 scale for 128 elements goes out,
# bf16 comes back.
DISPATCH_TOKENS, DISPATCH_EXPERTS, DISPATCH_TOP_K, DISPATCH_WIDTH = 4096, 256, 8, 7168
DISPATCH_ROW_BYTES = DISPATCH_WIDTH + 4 * DISPATCH_WIDTH // 128
COMBINE_ROW_BYTES = 2 * DISPATCH_WIDTH
# Copies of a token when its experts may lie in 4 of 8 nodes, chosen by the best score in a node: Monte Carlo,
# 200 000 tokens with independent scores, standard error 0.0003. Below 8 nodes the limit does not bind.
COPIES_TO_8_NODES = 3.983
# (EP ranks, path, members of the group that the bottleneck link joins, nodes, dispatch GB/s, combine GB/s).
# EP16 is left out: its RDMA rate is what NVLink lets through.
DEEPEP_ROWS = [(8, "node", 8, 1, 153, 158), (32, "rail", 4, 4, 58, 57), (64, "rail", 8, 8, 51, 50)]

# Bytes of an op and the fraction of the memory bandwidth that Calculon's H100 reaches there.
CALCULON_BANDWIDTH = 3072e9
CALCULON_ROWS = [(100_000, 0.3), (1_000_000, 0.6), (10_000_000, 0.75), (100_000_000, 0.9), (1_000_000_000, 0.9)]


def microseconds(seconds):
    return f"{seconds * 1e6:.6g} us"


def point(op, pass_, dtype, shape, time, source):
    return {"op": op, "pass": pass_, "dtype": dtype, "shape": shape, "time": time, "spread": None, "repeats": None,
            "source": source}


def collective(op, path, ranks, nodes, size, time, source):
    return {"op": op, "path": path, "ranks": ranks, "nodes": nodes, "bytes": f"{size} B", "time": time,
            "source": source}


def gemm_points(tables):
    for m, n, k, latency, _ in tables["gemm"]["tables"]["h100_sxm"]["bfloat16"]:
        yield point("gemm", "fwd", "bf16", {"m": m, "n": n, "k": k}, f"{latency:.6g} us", GEMM_SOURCE)


def attention_points():
    for pass_, causal, figure, rates in ATTENTION_RATES:
        for seq, rate in zip(ATTENTION_SEQUENCES, rates):
            batch = ATTENTION_TOKENS // seq
            # The paper counts 4 s^2 d for each head, half of it under a causal mask, and 2.5 times that backward.
            flops = 4 * seq**2 * ATTENTION_HEAD_DIM * ATTENTION_HEADS * batch
            flops *= (0.5 if causal else 1.0) * (2.5 if pass_ == "igrad" else 1.0)
            shape = {"batch": batch, "heads": ATTENTION_HEADS, "kv_heads": ATTENTION_HEADS, "seq": seq,
                     "d_qk": ATTENTION_HEAD_DIM, "d_v": ATTENTION_HEAD_DIM, "causal": causal}
            yield point("attention", pass_, "bf16", shape, microseconds(flops / (rate * 1e12)),
                        FLASH_ATTENTION.format(figure=figure, rate=rate))


def memory_points():
    for size, efficiency in CALCULON_ROWS:
        time = microseconds(size / (efficiency * CALCULON_BANDWIDTH))
        yield point("memory", "fwd", "bf16", {"bytes": f"{size} B"}, time, CALCULON.format(efficiency=efficiency))


def nccl_collectives(tables):
    names = {"alltoall": "all_to_all"}
    for key, rows in sorted(tables["nccl_single_node"]["tables"]["H100-SXM5 nccl2.29.2"].items()):
        name, ranks = key.split("/")
        for size, latency in rows:
            if size <= LARGEST_STARTUP_BYTES:
                yield collective(names.get(name, name), "node", int(ranks), 1, size, f"{latency:.6g} us", NCCL_SOURCE)


def expected_copies(groups):
    """Groups that hold at least one of the experts of a token whose experts are chosen at random."""
    outside = DISPATCH_EXPERTS - DISPATCH_EXPERTS // groups
    return groups * (1 - math.comb(outside, DISPATCH_TOP_K) / math.comb(DISPATCH_EXPERTS, DISPATCH_TOP_K))


def deepep_collectives():
    for ranks, path, members, nodes, dispatch_rate, combine_rate in DEEPEP_ROWS:
        copies = COPIES_TO_8_NODES if nodes == 8 else expected_copies(members)
        for what, row_bytes, rate in (("dispatch", DISPATCH_ROW_BYTES, dispatch_rate),
                                      ("combine", COMBINE_ROW_BYTES, combine_rate)):
            size = round(copies * DISPATCH_TOKENS * row_bytes)
            yield collective("all_to_all", path, members, nodes, size, microseconds(size / (rate * 1e9)),
                             DEEPEP.format(what=what, ranks=ranks, rate=rate))


def header():
    return {
        "schema": "calibration/1",
        "device": "h800",
        "driver": None,
        "software": "torch linear kernels as vLLM calls them, FlashAttention-3, NCCL 2.29.2, DeepEP v1",
        "conditions": {"power_limit": "700 W", "clock": None, "input": None, "active_ranks": 1,
                       "links": {"node": "200 GB/s", "rail": "50 GB/s"}},
    }


def footer():
    dispatch = "SimuMax, B200: host time of a kernel, about 5 us"
    gap = "SimuMax, B200: a graph with a kernel of 24 us is replayed in 25.8 us"
    idle = "nvidia-smi of 8x H800 at 0 % utilisation, NVIDIA/DCGM issue 183"
    busy = "76 % of the limit: mean of intensive workloads on 8x H100, arXiv 2506.14551"
    limit = "nvidia-smi of 8x H800, NVIDIA/DCGM issue 183"
    return {
        "launch": {"gap": {"value": "1.8 us", "source": gap}, "dispatch": {"value": "5 us", "source": dispatch}},
        "power": {
            "idle": {"value": "73 W", "source": idle},
            "busy": {"value": "532 W", "source": busy},
            "waiting": None,
            "limit": {"value": "700 W", "source": limit},
        },
        "fits": None,
    }


def entry_lines(entries):
    """Key lines of an object; a list has one element on each line, so that a changed point is one line of a diff."""
    for key, value in entries.items():
        if isinstance(value, list):
            rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
            yield f'  "{key}": [\n{rows}\n  ]'
        else:
            yield f'  "{key}": {json.dumps(value)}'


def main(arguments):
    if len(arguments) not in (2, 3):
        sys.exit("usage: derive_h800_calibration.py KERNEL_TABLES_JSON [OUTPUT]")
    with open(arguments[1], encoding="utf-8") as file:
        tables = json.load(file)
    calibration = header() | {
        "points": [*gemm_points(tables), *attention_points(), *memory_points()],
        "collectives": [*nccl_collectives(tables), *deepep_collectives()],
    } | footer()
    text = "{\n" + ",\n".join(entry_lines(calibration)) + "\n}\n"
    if len(arguments) == 2:
        sys.stdout.write(text)
    else:
        with open(arguments[2], "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main(sys.argv)
