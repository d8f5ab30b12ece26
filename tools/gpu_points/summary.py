#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints what docs/design/gpu-points.md says of raw lines: shares of the peak, and ratios between kernels.

Usage: summary.py FILE [EARLIER], EARLIER being another run on the same kind of device, to see how well it repeats.
"""

import json
import statistics
import sys

PEAK = {"bf16": 989.5e12, "fp8": 1979e12, "fp8_blocks": 1979e12}  # of H100 and H200, dense


def points(path):
    with open(path) as lines:
        rows = [json.loads(line) for line in lines]
    return {(r["op"], r["pass"], r["dtype"], r.get("software", ""), json.dumps(r["shape"])): r
            for r in rows if r["kind"] == "point"}


def operations(key, shape):
    op, pass_ = key[:2]
    if op == "attention":
        pairs = shape["batch"] * shape["heads"] * shape["seq"] ** 2 / (2 if shape["causal"] else 1)
        return (1 if pass_ == "fwd" else 2.5) * 2 * pairs * (shape["d_qk"] + shape["d_v"])
    rows = shape["m"] if op == "gemm" else shape["num_groups"] * shape["m_per_group"]
    return 2 * rows * shape["n"] * shape["k"]


def ratios(now, of, over):
    """Times of the points that `of` picks over those that `over` makes of their keys."""
    return [now[key]["time"] / now[over(key)]["time"] for key in now if of(key) and over(key) in now]


now = points(sys.argv[1])
shares, changes = {}, {}
earlier = points(sys.argv[2]) if len(sys.argv) > 2 else {}
for key, row in now.items():
    if key[0] != "memory":
        large = key[0] != "attention" or row["shape"]["seq"] >= 16384
        if large:
            share = operations(key, row["shape"]) / row["time"] / PEAK[key[2]]
            shares.setdefault(key[:4], []).append(share)
    if key in earlier:
        changes.setdefault(key[:4], []).append(row["time"] / earlier[key]["time"] - 1)
print("share of the peak: median, largest (attention: sequences from 16384 on)")
for name, values in shares.items():
    print(f"  {' '.join(name):40} {len(values):4} {statistics.median(values):.3f} {max(values):.3f}")
for text, found in (
        ("cuDNN over FlashAttention 2", ratios(now, lambda k: k[3] == "cuDNN", lambda k: k[:3] + ("FlashAttention", k[4]))),
        ("fp8, one scale over blocks", ratios(now, lambda k: k[2] == "fp8", lambda k: k[:2] + ("fp8_blocks",) + k[3:])),
        ("experts, one kernel over streams", ratios(now, lambda k: k[3] == "torch", lambda k: k[:3] + ("", k[4])))):
    if found:
        print(f"{text}: time, median {statistics.median(found):.3f}, {min(found):.3f} to {max(found):.3f}")
for name, values in changes.items():
    sizes = sorted(abs(v) for v in values)
    print(f"  repeats {' '.join(name):40} median {statistics.median(values):+.3f}, absolute {statistics.median(sizes):.3f}, "
          f"ninth decile {sizes[len(sizes) * 9 // 10]:.3f}")
