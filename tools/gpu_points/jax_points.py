#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what PyTorch does not call: cuDNN's attention to a window of keys, and in fp8.

Usage: jax_points.py FILE

Appends lines of JSON as gpu_points writes them. Each time is one call's of a chain of them in one compiled program; the
backward's is that of forward and backward less the forward's. docs/design/gpu-points.md.
"""

import json
import os
import statistics
import sys
import time

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax._src.cudnn import fused_attention_stablehlo as cudnn  # noqa: E402

CHAIN, RUNS = 16, 7
SHAPES = ((1, 64, 8, 4096, 64), (4, 64, 8, 4096, 64), (1, 64, 8, 16384, 64), (1, 32, 8, 4096, 128),
          (1, 32, 8, 16384, 128))  # batch, heads, heads of keys, sequence, width


def seconds_of(step, first, *others):
    """Median of one call of `step`, whose result is the next one's first argument."""
    @jax.jit
    def chain(x, *rest):
        for _ in range(CHAIN):
            x = step(x, *rest)
        return x

    chain(first, *others).block_until_ready()
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        chain(first, *others).block_until_ready()
        times.append((time.perf_counter() - begin) / CHAIN)
    return statistics.median(times)


def measured(out, kind, shape, attend, dtype):
    batch, heads, kv_heads, seq, width = shape
    keys = jax.random.split(jax.random.key(1), 4)
    q, k, v, gradient = (jax.random.normal(key, (batch, seq, number, width), jnp.bfloat16).astype(dtype)
                         for key, number in zip(keys, (heads, kv_heads, kv_heads, heads)))

    def both(q, k, v, gradient):
        return jax.vjp(attend, q, k, v)[1](gradient)[0]

    rows = {}
    try:
        rows["fwd"] = seconds_of(attend, q, k, v)
        rows["igrad"] = seconds_of(both, q, k, v, gradient) - rows["fwd"]
    except Exception as error:
        out.write(json.dumps({"kind": "missing", "name": kind["kind"], "shape": shape,
                              "value": str(error).splitlines()[0][:160]}) + "\n")
    names = dict(zip(("batch", "heads", "kv_heads", "seq", "d"), shape))
    for pass_, seconds in rows.items():
        out.write(json.dumps({"kind": kind["kind"], "name": "cuDNN", "pass": pass_,
                              "shape": {**names, "window": kind["window"]}, "seconds": seconds}) + "\n")
    out.flush()


def main():
    out = open(sys.argv[1], "a")
    out.write(json.dumps({"kind": "head", "name": "jax", "value": jax.__version__}) + "\n")
    causal = cudnn.MaskType.CAUSAL
    scales = {key: jnp.ones((1, 1, 1, 1), jnp.float32) for key in cudnn.fp8_params_keys}
    for shape in SHAPES:
        scale = shape[-1] ** -0.5

        def in_fp8(q, k, v):
            return cudnn.dot_product_attention(q, k, v, fp8_params=scales, scale=scale, mask_type=causal,
                                               use_fp8=True)[0]

        measured(out, {"kind": "fp8 attention", "window": None}, shape, in_fp8, jnp.float8_e4m3fn)
        for window in (None, 128, 512, 1024, 4096):
            if window is not None and window >= shape[3]:
                continue

            def in_window(q, k, v):
                return cudnn.dot_product_attention(q, k, v, scale=scale, mask_type=causal,
                                                   sliding_window_length=window)

            measured(out, {"kind": "window attention", "window": window}, shape, in_window, jnp.bfloat16)
    out.close()


main()
