# SPDX-License-Identifier: Apache-2.0
"""Collectives of an H800 from published measurements, for derive_gpu_calibrations.py.

What is converted, and what is left out on purpose, is explained in docs/design/kernels.md.
"""

import math

AICONFIGURATOR = "ai-dynamo/aiconfigurator@095f58a"
NCCL_SOURCE = f"{AICONFIGURATOR} nccl 2.29.2 H100-SXM5: start-up only, its NVLink is not the H800's"
DEEPEP = "deepseek-ai/DeepEP docs/legacy.md, {what} EP{ranks}, H800, {rate} GB/s"

# NCCL rows up to this size tell start-up time; above it the NVLink of the H100 shows, which the H800 does not have.
LARGEST_STARTUP_BYTES = 32768

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


def microseconds(seconds):
    return f"{seconds * 1e6:.6g} us"


def collective(op, path, ranks, nodes, size, time, source):
    return {"op": op, "path": path, "ranks": ranks, "nodes": nodes, "bytes": f"{size} B", "time": time,
            "source": source}


def start_up(tables):
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


def deepep():
    for ranks, path, members, nodes, dispatch_rate, combine_rate in DEEPEP_ROWS:
        copies = COPIES_TO_8_NODES if nodes == 8 else expected_copies(members)
        for what, row_bytes, rate in (("dispatch", DISPATCH_ROW_BYTES, dispatch_rate),
                                      ("combine", COMBINE_ROW_BYTES, combine_rate)):
            size = round(copies * DISPATCH_TOKENS * row_bytes)
            yield collective("all_to_all", path, members, nodes, size, microseconds(size / (rate * 1e9)),
                             DEEPEP.format(what=what, ranks=ranks, rate=rate))
