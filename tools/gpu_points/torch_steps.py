#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures whole training steps of a few layers on one GPU, as Transformers runs them without compilation.

Usage: torch_steps.py FILE [--compile] [--fp8] [--model NAME]... [--tiny]

Appends one line of JSON for each model and micro-batch: seconds of forward, backward and optimizer (CUDA events), the
host's seconds for each, kernels of each by kind with their number and seconds (PyTorch's profiler), clock and power
while steps repeat, and the memory's high-water mark. `--compile` lets torch.compile fuse what it can, for the largest
micro-batch of each model; `--fp8` multiplies the linear layers of attention and feed-forward in fp8, with one scale a
tensor that is found at each use (experts stay in bf16); `--tiny` runs small models on the CPU, to try the script.
docs/design/gpu-steps.md says what this is compared with.
"""

import argparse
import json
import statistics
import threading
import time

import torch
import transformers

STEPS, WARM_UP, POWER_SECONDS = 7, 3, 1.5

# name, class, what its configuration has beyond the defaults, micro-batches. A few layers of the published shapes; of
# DeepSeek-V3 the 16 experts that a rank of 16 has.
MODELS = [
    ("mixtral-8x7b", "Mixtral", dict(
        hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8, num_hidden_layers=2,
        num_local_experts=8, num_experts_per_tok=2, vocab_size=32000, max_position_embeddings=8192,
        sliding_window=None), (1, 2, 4)),
    ("qwen3-30b-a3b", "Qwen3Moe", dict(
        hidden_size=2048, intermediate_size=6144, moe_intermediate_size=768, num_attention_heads=32,
        num_key_value_heads=4, head_dim=128, num_hidden_layers=4, num_experts=128, num_experts_per_tok=8,
        norm_topk_prob=True, vocab_size=151936, max_position_embeddings=8192), (1, 2, 4)),
    ("deepseek-v3-16-experts", "DeepseekV3", dict(
        hidden_size=7168, intermediate_size=18432, moe_intermediate_size=2048, num_attention_heads=128,
        num_key_value_heads=128, num_hidden_layers=2, n_routed_experts=16, num_experts_per_tok=8, n_shared_experts=1,
        n_group=1, topk_group=1, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128, qk_rope_head_dim=64,
        v_head_dim=128, first_k_dense_replace=1, vocab_size=32000, max_position_embeddings=8192), (1, 2)),
    ("llama-3-8b", "Llama", dict(
        hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8, num_hidden_layers=4,
        vocab_size=32000, max_position_embeddings=8192), (1, 2, 4)),
    ("llama-3-70b", "Llama", dict(
        hidden_size=8192, intermediate_size=28672, num_attention_heads=64, num_key_value_heads=8, num_hidden_layers=2,
        vocab_size=32000, max_position_embeddings=8192), (1, 2)),
]
TINY = dict(hidden_size=64, intermediate_size=96, moe_intermediate_size=32, num_hidden_layers=2, vocab_size=256,
            num_attention_heads=4, num_key_value_heads=4, head_dim=16, q_lora_rank=16, kv_lora_rank=16,
            qk_nope_head_dim=16, qk_rope_head_dim=16, v_head_dim=16, num_experts=8, n_routed_experts=8)

# Kinds of kernels by words in their names, the first that fits. What fits none is "other".
KINDS = [
    ("fused by the compiler", ("triton_",)),
    ("grouped", ("grouped", "Grouped", "GroupProblemShape", "PtrArray")),
    ("attention", ("flash", "fmha", "sdpa", "cudnn_generated", "Attention")),
    ("product", ("nvjet", "gemm", "xmma", "cutlass", "splitKreduce", "cublas", "gemv")),
    ("optimizer", ("multi_tensor",)),
    ("sort, scatter, gather", ("sort", "Sort", "radix", "Radix", "scatter", "gather", "index", "Index", "topk",
                               "TopK", "scan", "Scan", "histogram", "embedding", "bitonic")),
    ("softmax, loss", ("softmax", "SoftMax", "nll_loss", "Loss")),
    ("copy, cast, fill", ("copy", "Copy", "Memcpy", "Memset", "Fill", "fill", "CatArray")),
    ("reduction", ("reduce",)),
    ("elementwise", ("elementwise",)),
]


def kind_of(name):
    return next((kind for kind, words in KINDS if any(word in name for word in words)), "other")


def causal_attention(module, query, key, value, attention_mask, scaling=None, **_):
    """PyTorch's own choice of kernels for causal attention, cuDNN's here. Compiled, Transformers hands a mask to it
    instead, for which it takes kernels three times as slow."""
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling,
                                                           enable_gqa=query.shape[1] != key.shape[1])
    return out.transpose(1, 2).contiguous(), None


transformers.AttentionInterface.register("causal", causal_attention)
transformers.AttentionMaskInterface.register("causal", lambda *_, **__: None)


def quantised(values):
    """Its fp8 and what that has to be multiplied by: one scale for the largest magnitude, found now."""
    scale = torch.finfo(torch.float8_e4m3fn).max / values.abs().amax().float().clamp(min=1e-12)
    return (values.float() * scale).to(torch.float8_e4m3fn), scale.reciprocal()


def product_of(a, b):
    """a b^T of bf16 matrices, multiplied in fp8. Hopper wants both along rows, so whoever transposes casts a copy."""
    (a, of_a), (b, of_b) = quantised(a), quantised(b)
    return torch._scaled_mm(a.contiguous(), b.contiguous().t(), scale_a=of_a, scale_b=of_b, out_dtype=torch.bfloat16,
                            use_fast_accum=True)


class InFp8(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return product_of(x.reshape(-1, x.shape[-1]), weight).reshape(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        rows, inputs = gradient.reshape(-1, gradient.shape[-1]), x.reshape(-1, x.shape[-1])
        return product_of(rows, weight.t()).reshape(x.shape), product_of(rows.t(), inputs.t())


class Fp8Linear(torch.nn.Linear):
    def forward(self, x):
        return InFp8.apply(x, self.weight)


def multiply_in_fp8(model):
    """Its linear layers but the head and routers."""
    for name, module in model.named_modules():
        if type(module) is torch.nn.Linear and "lm_head" not in name and name.split(".")[-1] != "gate":
            module.__class__ = Fp8Linear


class Clock:
    """Samples of NVML while its body runs: mean power in W, mean clock of the multiprocessors in MHz."""

    def __enter__(self):
        import pynvml
        self.nvml, self.device = pynvml, None
        pynvml.nvmlInit()
        self.device = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.rows, self.done = [], threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def sample(self):
        while not self.done.wait(0.02):
            self.rows.append((self.nvml.nvmlDeviceGetPowerUsage(self.device) / 1e3,
                              self.nvml.nvmlDeviceGetClockInfo(self.device, self.nvml.NVML_CLOCK_SM)))

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def means(self):
        rows = self.rows[len(self.rows) // 3:]  # the averages of the counter need a while
        return {"power": statistics.mean(r[0] for r in rows), "clock": statistics.mean(r[1] for r in rows)}


class Step:
    """One model with its optimizer, and the three phases of a step."""

    def __init__(self, kind, numbers, rows, seq, device, compiled, in_fp8):
        config = getattr(transformers, kind + "Config")(**numbers, use_cache=False, attn_implementation="causal",
                                                        pad_token_id=None)
        if any("experts" in key for key in numbers):
            config._experts_implementation = "grouped_mm"
        torch.manual_seed(1)
        with torch.device(device):
            torch.set_default_dtype(torch.bfloat16)
            self.model = getattr(transformers, kind + "ForCausalLM")(config)
            torch.set_default_dtype(torch.float32)
            self.tokens = torch.randint(0, config.vocab_size, (rows, seq))
        self.model.train()
        if in_fp8:
            multiply_in_fp8(self.model)
        if compiled:
            self.model.compile(dynamic=False)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.loss = None

    def forward(self):
        self.loss = self.model(input_ids=self.tokens, labels=self.tokens).loss

    def backward(self):
        self.loss.backward()

    def update(self):
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def phases(self):
        return (("forward", self.forward), ("backward", self.backward), ("update", self.update))

    def run(self):
        for _, phase in self.phases():
            phase()


def event_times(step):
    """Median seconds of each phase on the device."""
    rows = {name: [] for name, _ in step.phases()}
    for i in range(WARM_UP + STEPS):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(4)]
        marks[0].record()
        for mark, (_, phase) in zip(marks[1:], step.phases()):
            phase()
            mark.record()
        torch.cuda.synchronize()
        if i >= WARM_UP:
            for j, name in enumerate(rows):
                rows[name].append(marks[j].elapsed_time(marks[j + 1]) * 1e-3)
    return {name: statistics.median(times) for name, times in rows.items()}


def host_times(step):
    """Median seconds until the host has enqueued each phase; the device is idle at its start."""
    rows = {name: [] for name, _ in step.phases()}
    for _ in range(STEPS):
        for name, phase in step.phases():
            torch.cuda.synchronize()
            begin = time.perf_counter()
            phase()
            rows[name].append(time.perf_counter() - begin)
    torch.cuda.synchronize()
    return {name: statistics.median(times) for name, times in rows.items()}


def kernels(step):
    """Of each phase: kind -> number and seconds of its kernels; and the longest by name."""
    from torch.profiler import ProfilerActivity, profile
    found = {}
    for name, phase in step.phases():
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as run:
            phase()
            torch.cuda.synchronize()
        by_kind, by_name = {}, {}
        for event in run.events():
            if event.device_type != torch.autograd.DeviceType.CUDA:
                continue
            seconds = event.device_time * 1e-6
            for table, key in ((by_kind, kind_of(event.name)), (by_name, event.name[:80])):
                number, total = table.get(key, (0, 0.0))
                table[key] = (number + 1, total + seconds)
        longest = sorted(by_name.items(), key=lambda row: -row[1][1])[:24]
        found[name] = {"kinds": {kind: [n, float(f"{s:.4e}")] for kind, (n, s) in by_kind.items()},
                       "longest": [[n, float(f"{s:.4e}"), key] for key, (n, s) in longest]}
    return found


def measure(name, kind, numbers, rows, seq, compiled, in_fp8):
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    step = Step(kind, numbers, rows, seq, "cuda", compiled, in_fp8)
    times = event_times(step)
    peak = torch.cuda.max_memory_allocated()
    with Clock() as clock:
        end = time.perf_counter() + POWER_SECONDS
        while time.perf_counter() < end:
            step.run()
            torch.cuda.synchronize()
    return {"kind": "step", "model": name, "config": {"class": kind, **numbers}, "compiled": compiled,
            "precision": "fp8" if in_fp8 else "bf16", "micro_batch": rows, "sequence": seq,
            "parameters": sum(p.numel() for p in step.model.parameters()), "seconds": times, "host": host_times(step),
            **clock.means(), "peak_allocated": peak, "kernels": kernels(step)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fp8", action="store_true")
    parser.add_argument("--model", action="append")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    with open(arguments.file, "a") as out:
        def line(values):
            out.write(json.dumps(values) + "\n")
            out.flush()

        if not arguments.tiny:
            import pynvml
            pynvml.nvmlInit()
            device = pynvml.nvmlDeviceGetHandleByIndex(0)
            line({"kind": "head", "name": "device", "value": pynvml.nvmlDeviceGetName(device),
                  "power limit": pynvml.nvmlDeviceGetEnforcedPowerLimit(device) / 1e3})
            line({"kind": "head", "name": "driver", "value": pynvml.nvmlSystemGetDriverVersion()})
            line({"kind": "head", "name": "date", "value": time.strftime("%Y-%m-%d")})
        line({"kind": "head", "name": "torch", "value": torch.__version__})
        line({"kind": "head", "name": "transformers", "value": transformers.__version__})
        for name, kind, numbers, micro_batches in MODELS:
            if arguments.model and name not in arguments.model:
                continue
            if arguments.tiny:
                small = {key: TINY.get(key, value) for key, value in numbers.items()}
                step = Step(kind, small, 2, 32, "cpu", arguments.compile, arguments.fp8)
                step.run()
                line({"kind": "tiny", "model": name, "loss": float(step.loss.detach())})
                continue
            # A micro-batch of 64 tokens is the host alone: kernels are as short as they get.
            shapes = ((1, 64), *((rows, 4096) for rows in micro_batches))
            for rows, seq in shapes[-1:] if arguments.compile else shapes:
                try:
                    line(measure(name, kind, numbers, rows, seq, arguments.compile, arguments.fp8))
                except (RuntimeError, torch.OutOfMemoryError) as error:
                    line({"kind": "missing", "name": name, "micro_batch": rows, "sequence": seq,
                          "value": str(error).splitlines()[0][:160]})


main()
