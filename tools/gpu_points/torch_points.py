#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures attention, grouped products and the host's time as PyTorch's kernels have them.

Usage: torch_points.py FILE [NAME...]

Names are those of the groups at the end of this file; all without one.
Appends lines of JSON as gpu_points writes them. Attention is cuDNN's and FlashAttention's, through
scaled_dot_product_attention; docs/design/gpu-points.md.
"""

import json
import statistics
import sys
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

BATCH_SECONDS, BATCHES = 5e-3, 9
BACKENDS = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "FlashAttention": SDPBackend.FLASH_ATTENTION}


def elapsed(work):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3


def measure(call, stream):
    """Median seconds of one call and the median absolute deviation, replayed from a graph."""
    with torch.cuda.stream(stream):
        call()
        first = elapsed(lambda: [call() for _ in range(3)]) / 3
        calls = max(1, min(100, int(BATCH_SECONDS / first)))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for _ in range(calls):
                call()
        times = [elapsed(graph.replay) / calls for _ in range(BATCHES + 2)][2:]
    middle = statistics.median(times)
    return middle, statistics.median(abs(t - middle) for t in times)


def point(out, op, pass_, shape, sample, software, dtype="bf16"):
    out.write(json.dumps({"kind": "point", "op": op, "pass": pass_, "dtype": dtype, "shape": shape,
                          "time": float(f"{sample[0]:.6e}"), "spread": float(f"{sample[1]:.2e}"),
                          "repeats": BATCHES, "software": software}) + "\n")
    out.flush()


def attention(out, stream, name, batch, heads, kv_heads, seq, d_qk, d_v, causal):
    shape = {"batch": batch, "heads": heads, "kv_heads": kv_heads, "seq": seq, "d_qk": d_qk, "d_v": d_v,
             "causal": causal}

    def normal(number, width):
        # (batch, seq, heads, width) in memory, as projections write it.
        return torch.randn(batch, seq, number, width, device="cuda", dtype=torch.bfloat16).transpose(1, 2)

    try:
        with torch.cuda.stream(stream), sdpa_kernel(BACKENDS[name]):
            q = normal(heads, d_qk).requires_grad_()
            k = normal(kv_heads, d_qk).requires_grad_()
            v = normal(kv_heads, d_v).requires_grad_()
            gradient = normal(heads, d_v)
            torch.cuda.synchronize()

            def forward():
                return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal,
                                                                        enable_gqa=heads != kv_heads)

            forwards = measure(forward, stream)
            result = forward()
            backwards = measure(
                lambda: torch.autograd.grad(result, (q, k, v), gradient, retain_graph=True), stream)
    except Exception as error:  # a shape that this library has no kernel for
        out.write(json.dumps({"kind": "missing", "name": f"attention, {name}", "shape": shape,
                              "value": str(error).splitlines()[0][:120]}) + "\n")
        torch.cuda.synchronize()
        return
    point(out, "attention", "fwd", shape, forwards, name)
    point(out, "attention", "igrad", shape, backwards, name)


def cross_attention(out, stream, batch, heads, kv_heads, seq, kv_seq, width):
    """All queries against all of other keys, as a step of ring attention, by cuDNN."""
    shape = {"batch": batch, "heads": heads, "kv_heads": kv_heads, "seq": seq, "kv_seq": kv_seq, "d": width}

    def normal(number, rows):
        return torch.randn(batch, rows, number, width, device="cuda", dtype=torch.bfloat16).transpose(1, 2)

    with torch.cuda.stream(stream), sdpa_kernel(BACKENDS["cuDNN"]):
        q = normal(heads, seq).requires_grad_()
        k, v = (normal(kv_heads, kv_seq).requires_grad_() for _ in range(2))
        gradient = normal(heads, seq)
        torch.cuda.synchronize()

        def forward():
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=heads != kv_heads)

        forwards = measure(forward, stream)
        result = forward()
        backwards = measure(lambda: torch.autograd.grad(result, (q, k, v), gradient, retain_graph=True), stream)
    for pass_, sample in (("fwd", forwards), ("igrad", backwards)):
        out.write(json.dumps({"kind": "cross attention", "name": "cuDNN", "pass": pass_, "shape": shape,
                              "seconds": sample[0]}) + "\n")


def window_attention(out, stream, batch, heads, kv_heads, seq, width, window):
    """Causal attention to the last `window` keys (all: None) by FlashAttention 2, which PyTorch has it from."""
    shape = {"batch": batch, "heads": heads, "kv_heads": kv_heads, "seq": seq, "d": width, "window": window}

    def normal(number):
        return torch.randn(batch, seq, number, width, device="cuda", dtype=torch.bfloat16)

    sides = {} if window is None else {"window_size_left": window - 1, "window_size_right": 0}
    with torch.cuda.stream(stream):
        q, k, v, gradient = normal(heads), normal(kv_heads), normal(kv_heads), normal(heads)
        torch.cuda.synchronize()

        def forward():
            return torch.ops.aten._flash_attention_forward(q, k, v, None, None, seq, seq, 0.0, True, False, **sides)

        forwards = measure(forward, stream)
        result, logsumexp, state, unused, _ = forward()
        backwards = measure(lambda: torch.ops.aten._flash_attention_backward(
            gradient, q, k, v, result, logsumexp, None, None, seq, seq, 0.0, True, state, unused, **sides), stream)
    for pass_, sample in (("fwd", forwards), ("igrad", backwards)):
        out.write(json.dumps({"kind": "window attention", "name": "FlashAttention", "pass": pass_, "shape": shape,
                              "seconds": sample[0]}) + "\n")


def or_missing(out, what, *arguments):
    """A shape that the library has no kernel for is a row of its own."""
    try:
        what(out, *arguments)
    except Exception as error:
        out.write(json.dumps({"kind": "missing", "name": what.__name__, "shape": arguments[1:],
                              "value": str(error).splitlines()[0][:120]}) + "\n")
    out.flush()


def grouped(out, stream, groups, rows, n, k):
    """The kernels of torch._grouped_mm and, in fp8 with a scale for each row, torch._scaled_grouped_mm."""
    shape = {"num_groups": groups, "m_per_group": rows, "n": n, "k": k}
    total = groups * rows
    x = torch.randn(total, k, device="cuda", dtype=torch.bfloat16)
    y = torch.randn(total, n, device="cuda", dtype=torch.bfloat16)
    w = torch.randn(groups, n, k, device="cuda", dtype=torch.bfloat16)
    x8, w8 = x.to(torch.float8_e4m3fn), w.to(torch.float8_e4m3fn)
    of_rows, of_columns = torch.ones(total, device="cuda"), torch.ones(groups, n, device="cuda")
    ends = torch.arange(rows, total + 1, rows, device="cuda", dtype=torch.int32)
    torch.cuda.synchronize()
    calls = {("fwd", "bf16"): lambda: torch._grouped_mm(x, w.transpose(1, 2), offs=ends),
             ("igrad", "bf16"): lambda: torch._grouped_mm(y, w, offs=ends),
             ("wgrad", "bf16"): lambda: torch._grouped_mm(y.t(), x, offs=ends),
             ("fwd", "fp8"): lambda: torch._scaled_grouped_mm(x8, w8.transpose(1, 2), of_rows, of_columns, offs=ends,
                                                              out_dtype=torch.bfloat16)}
    for (pass_, dtype), call in calls.items():
        try:
            point(out, "grouped_gemm", pass_, shape, measure(call, stream), "torch", dtype)
        except Exception as error:  # no kernel for it
            out.write(json.dumps({"kind": "missing", "name": f"grouped_gemm {pass_} {dtype}", "shape": shape,
                                  "value": str(error).splitlines()[0][:120]}) + "\n")


def host(out):
    """Seconds of the host for one op while the device is behind."""
    x = torch.ones(1024, device="cuda", dtype=torch.bfloat16)
    w = torch.randn(1024, 1024, device="cuda", dtype=torch.bfloat16)
    rows = x.expand(8, 1024).contiguous()
    busy = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    weight = torch.nn.Parameter(w)

    def timed(name, call, number=200):
        call()
        torch.cuda.synchronize()
        for _ in range(20):
            busy @ busy
        begin = time.perf_counter()
        for _ in range(number):
            call()
        seconds = (time.perf_counter() - begin) / number
        torch.cuda.synchronize()
        out.write(json.dumps({"kind": "launch", "name": f"host, {name}", "seconds": seconds}) + "\n")

    timed("torch elementwise", lambda: x.add_(1.0))
    timed("torch product", lambda: torch.mm(rows, w))
    timed("torch linear, forward with graph", lambda: torch.nn.functional.linear(rows, weight))

    def both():
        torch.nn.functional.linear(rows, weight).sum().backward()

    timed("torch linear, sum and backward", both, 50)


def attentions(out, stream):
    for name in BACKENDS:
        for seq, batches in ((2048, (1, 4)), (4096, (1, 2)), (8192, (1,)), (16384, (1,)), (32768, (1,))):
            for batch in batches:
                for heads, kv_heads in ((4, 1), (8, 1), (16, 4), (32, 8), (32, 32), (64, 8)):
                    if seq * heads <= 16384 * 64:
                        attention(out, stream, name, batch, heads, kv_heads, seq, 128, 128, True)
        for heads in (16, 64, 128):
            attention(out, stream, name, 1, heads, heads, 4096, 192, 128, True)
        for heads in (16, 32):
            attention(out, stream, name, 2, heads, heads, 2048, 64, 64, True)
            attention(out, stream, name, 1, heads, heads, 4096, 128, 128, False)


def narrow_attentions(out, stream):
    """Heads of 64, as GPT-OSS has them."""
    for seq, batches in ((4096, (1, 2, 4)), (8192, (1,)), (16384, (1,))):
        for batch in batches:
            for heads, kv_heads in ((8, 1), (16, 2), (64, 8)):
                attention(out, stream, "cuDNN", batch, heads, kv_heads, seq, 64, 64, True)


def windows(out, stream):
    for batch, heads, kv_heads, seq, width in ((1, 64, 8, 4096, 64), (4, 64, 8, 4096, 64), (1, 64, 8, 16384, 64),
                                               (1, 32, 8, 4096, 128), (1, 32, 8, 16384, 128)):
        for window in (None, 128, 512, 1024, 4096):
            if window is None or window < seq:
                or_missing(out, window_attention, stream, batch, heads, kv_heads, seq, width, window)


def crosses(out, stream):
    for heads, kv_heads in ((8, 1), (32, 8)):
        for seq, kv_seq in ((2048, 2048), (2048, 4096), (4096, 2048), (4096, 4096), (4096, 8192), (8192, 4096),
                            (8192, 8192)):
            or_missing(out, cross_attention, stream, 1, heads, kv_heads, seq, kv_seq, 128)


def experts(out, stream):
    # The experts of products.cpp.
    for n, k in ((28672, 4096), (4096, 14336), (4096, 7168), (7168, 2048), (3072, 4096), (4096, 1536), (1536, 2048),
                 (2048, 768)):
        for groups in (2, 4, 8, 16, 32):
            for rows in (128, 256, 512, 1024, 2048, 4096):
                if groups * rows <= 32768 and (groups <= 8 or n * k < 40e6):
                    grouped(out, stream, groups, rows, n, k)


GROUPS = {"attention": attentions, "narrow": narrow_attentions, "windows": windows, "cross": crosses,
          "experts": experts}


def main():
    out = open(sys.argv[1], "a")
    names = sys.argv[2:]
    out.write(json.dumps({"kind": "head", "name": "torch", "value": torch.__version__}) + "\n")
    out.write(json.dumps({"kind": "head", "name": "cuDNN", "value": str(torch.backends.cudnn.version())}) + "\n")
    stream = torch.cuda.Stream()
    if not names or "host" in names:
        host(out)
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(2000):
        a @ a
    for name, group in GROUPS.items():
        if not names or name in names:
            group(out, stream)
    out.close()


main()
