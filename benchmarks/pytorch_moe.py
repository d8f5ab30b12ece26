# SPDX-License-Identifier: Apache-2.0
"""pytorch_moe.py --processes P --threads T --dtype f32|bf16 --steps N: the model of against_pytorch.py in PyTorch eager.

Prints {"seconds": [of each step but the first two], "processor_seconds": [of all threads and processes], "loss": of the
last} as JSON. What a step does is what ours does: the
forward, cross-entropy and auxiliary loss, the backward, gradients clipped to norm 1, AdamW on f32 masters. In the way that
is fast in eager PyTorch: its fused attention, one grouped copy of the rows of all experts, three products for each
expert, its fused AdamW. With two processes each has half the sequences (DistributedDataParallel over Gloo).
"""
import argparse
import json
import os
import socket
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F


class Experts(nn.Module):
    """Top-k experts with the rows of each side by side. Weights are whole matrices, gate above up, as ours."""

    def __init__(self, c):
        super().__init__()
        self.num, self.top_k, self.aux = c["num_local_experts"], c["num_experts_per_tok"], c["router_aux_loss_coef"]
        h, f = c["hidden_size"], c["intermediate_size"]
        self.router = nn.Parameter(torch.randn(self.num, h) * 0.02)
        self.fc1 = nn.ParameterList(torch.randn(2 * f, h) * 0.02 for _ in range(self.num))
        self.fc2 = nn.ParameterList(torch.randn(h, f) * 0.02 for _ in range(self.num))

    def forward(self, x, balanced):
        scores = torch.softmax(F.linear(x.float(), self.router.float()), dim=-1)
        if balanced:  # every expert as often as every other, in random order
            generator = torch.Generator().manual_seed(x.shape[0])
            first = torch.arange(x.shape[0])[torch.randperm(x.shape[0], generator=generator)] % self.num
            chosen = torch.stack([(first + j) % self.num for j in range(self.top_k)], dim=-1)
            weight = scores.gather(-1, chosen)
        else:
            weight, chosen = scores.topk(self.top_k, dim=-1)
        weight = weight / weight.sum(-1, keepdim=True)
        order = chosen.flatten().argsort(stable=True)
        counts = torch.bincount(chosen.flatten(), minlength=self.num)
        token = order // self.top_k
        out = []
        for rows, fc1, fc2 in zip(x[token].split(counts.tolist()), self.fc1, self.fc2):
            gate, up = F.linear(rows, fc1).chunk(2, dim=-1)
            out.append(F.linear(F.silu(gate) * up, fc2))
        scaled = torch.cat(out) * weight.flatten()[order].unsqueeze(-1).to(x.dtype)
        share = counts / counts.sum() * self.num
        return torch.zeros_like(x).index_add(0, token, scaled), self.aux * (share * scores.mean(0)).sum()


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, self.heads = c["hidden_size"], c["num_attention_heads"]
        self.attn_norm, self.moe_norm = nn.RMSNorm(h, c["rms_norm_eps"]), nn.RMSNorm(h, c["rms_norm_eps"])
        self.qkv, self.attn_out = nn.Linear(h, 3 * h, bias=False), nn.Linear(h, h, bias=False)
        self.experts = Experts(c)

    def forward(self, x, cos, sin, balanced):
        batch, seq, h = x.shape
        q, k, v = self.qkv(self.attn_norm(x)).view(batch, seq, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        turned = []
        for part in (q, k):
            a, b = part.chunk(2, dim=-1)
            turned.append(torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1))
        y = F.scaled_dot_product_attention(*turned, v, is_causal=True)
        x = x + self.attn_out(y.transpose(1, 2).reshape(batch, seq, h))
        y, aux = self.experts(self.moe_norm(x).view(-1, h), balanced)
        return x + y.view_as(x), aux


class Moe(nn.Module):
    def __init__(self, c, seq):
        super().__init__()
        h, d = c["hidden_size"], c["hidden_size"] // c["num_attention_heads"]
        self.embedding = nn.Embedding(c["vocab_size"], h)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm, self.head = nn.RMSNorm(h, c["rms_norm_eps"]), nn.Linear(h, c["vocab_size"], bias=False)
        angle = torch.outer(torch.arange(seq), c["rope_theta"] ** (-torch.arange(0, d, 2) / d))
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, tokens, targets, balanced):
        x, aux = self.embedding(tokens), 0.0
        for layer in self.layers:
            x, more = layer(x, self.cos.to(x.dtype), self.sin.to(x.dtype), balanced)
            aux = aux + more
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1).float(), targets.flatten()) + aux


class Trainer:
    """AdamW on f32 masters; where the model is f32 they are its own weights."""

    def __init__(self, model):
        self.weights = list(model.parameters())
        self.masters = [w if w.dtype == torch.float32 else w.detach().float() for w in self.weights]
        self.adamw = torch.optim.AdamW(self.masters, lr=3e-3, weight_decay=0.0, betas=(0.9, 0.95), fused=True)

    def step(self):
        for weight, master in zip(self.weights, self.masters):
            if master is not weight:
                master.grad, weight.grad = weight.grad.float(), None
        torch.nn.utils.clip_grad_norm_(self.masters, 1.0, foreach=True)
        self.adamw.step()
        with torch.no_grad():
            for weight, master in zip(self.weights, self.masters):
                if master is not weight:
                    weight.copy_(master)
        self.adamw.zero_grad(set_to_none=True)


def train(rank, options, port, results):
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    config = json.load(open(options.model))
    model = Moe(config, options.sequence).to(torch.float32 if options.dtype == "f32" else torch.bfloat16)
    replica = model
    if options.processes > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        dist.init_process_group("gloo", rank=rank, world_size=options.processes)
        replica = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    trainer, seconds, processor = Trainer(model), [], []
    batch = options.global_batch // options.processes
    for step in range(options.steps):
        generator = torch.Generator().manual_seed(step * options.processes + rank)
        text = torch.randint(config["vocab_size"], (batch, options.sequence + 1), generator=generator)
        begin, begin_processor = time.perf_counter(), time.process_time()
        total = 0.0
        for rows in text.split(options.micro_batch):
            last = rows.data_ptr() == text[-rows.shape[0]].data_ptr()
            if options.processes > 1:
                replica.require_backward_grad_sync = last
            loss = replica(rows[:, :-1], rows[:, 1:], options.balanced) * rows.shape[0] / batch
            loss.backward()
            total += loss.item()
        trainer.step()
        seconds.append(time.perf_counter() - begin)
        processor.append(time.process_time() - begin_processor)
    results.put({"rank": rank, "seconds": seconds[2:], "processor_seconds": processor[2:], "loss": total})
    if options.processes > 1:
        dist.barrier()
        dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--global-batch", type=int, default=8)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--balanced", action="store_true")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    ranks = [context.Process(target=train, args=(rank, options, port, results)) for rank in range(options.processes)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
        if rank.exitcode != 0:
            raise SystemExit(f"a process ended with exit code {rank.exitcode}")
    of_rank = {result["rank"]: result for result in (results.get() for _ in ranks)}
    total = [sum(times) for times in zip(*(result["processor_seconds"] for result in of_rank.values()))]
    print(json.dumps(of_rank[0] | {"processor_seconds": total}))


if __name__ == "__main__":
    main()
