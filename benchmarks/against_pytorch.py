#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""against_pytorch.py BINARIES PYTHON [--rounds N] [--types f32,bf16] [--own-router]: `orrery execute` beside PyTorch eager.

BINARIES: a folder with orrery, orrery-rank and gemm_benchmark of one build. PYTHON: an interpreter that has torch, for
example of a virtual environment made from tests/oracle/requirements.txt; only this script wants it. "-": ours alone.

The model: 4 layers, hidden 512, 8 experts of width 1024 of which 2 are chosen, 512 tokens a sequence, 4096 a step, AdamW
included. In each round our two ranks, PyTorch with one process of two threads and PyTorch with two processes take turns,
so that whatever else the machine does hits all three; what counts is the median over rounds of the ratio to the better
PyTorch. Of our step it says how much of it the matrix products took, and oneDNN alone would need for them, both cores at
work (gemm_benchmark counts processor time). Attention has products inside, which count as attention here.

On a busy machine times of a wall clock say little, so processor time is there as well: of all ranks or processes in a
step, waiting that spins included.
"""
import argparse
import collections
import json
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SEQUENCE, GLOBAL_BATCH, RANKS = 512, 8, 2
TOKENS = SEQUENCE * GLOBAL_BATCH
STRATEGIES = {"EP 1": {"ep": 1, "zero_dense": 1, "zero_expert": 1}, "EP 2": {"ep": 2, "zero_dense": 1}}


def run(command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def processor_seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def model_config():
    config = json.loads((REPOSITORY / "catalog/models/moe-tiny-cpu.json").read_text())
    return config | {"hidden_size": 512, "intermediate_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 8}


def products(config, micro_batch):
    """Op: (rows, outputs, inputs, experts) of its product for one micro-batch, rows of one expert."""
    h, f, tokens = config["hidden_size"], config["intermediate_size"], micro_batch * SEQUENCE
    experts = config["num_local_experts"]
    rows = tokens * config["num_experts_per_tok"] // experts
    return {"attn.qkv": (tokens, 3 * h, h, 1), "attn.out": (tokens, h, h, 1), "moe.fc1": (rows, 2 * f, h, experts),
            "moe.fc2": (rows, h, f, experts), "head.logits": (tokens, config["vocab_size"], h, 1)}


def rates(binaries, dtype, shapes):
    """Op and pass: operations a second that oneDNN reaches on one of two busy cores."""
    arguments = [f"{m}x{n}x{k}" for m, n, k, _ in shapes.values()]
    twins = [subprocess.Popen([binaries / "gemm_benchmark", dtype, *arguments], stdout=subprocess.PIPE, text=True)
             for _ in range(RANKS)]
    found = [json.loads(twin.communicate()[0]) for twin in twins]
    if any(twin.returncode for twin in twins):
        raise SystemExit("gemm_benchmark failed")
    return {(op, which): statistics.mean(rows[i][which] for rows in found)
            for i, op in enumerate(shapes) for which in ("fwd", "igrad", "wgrad")}


def read_trace(path):
    """Seconds of each step but the first two, and of each op and pass, of both ranks, in such a step."""
    steps, ops = {}, collections.defaultdict(float)
    for line in open(path):
        record = json.loads(line)
        if "step" in record:
            steps[record["step"]["step"]] = record["step"]["time"]
        elif "span" in record and record["span"][0] >= 2:
            _, _, key, _, _, start, end, _, _ = record["span"]
            *_, which, op = key.split("/")
            ops[op.split(".b")[0], which] += end - start
    counted = [time for step, time in steps.items() if step >= 2]
    return counted, {op: time / len(counted) for op, time in ops.items()}


def products_of(ops, shapes, config, micro_batch, rate):
    """Of one rank in a step: seconds that its products took, that oneDNN would take, and the operations."""
    took = alone = flops = 0.0
    layers, repeats = config["num_hidden_layers"], GLOBAL_BATCH // RANKS // micro_batch
    for op, (m, n, k, experts) in shapes.items():
        for which in ("fwd", "igrad", "wgrad"):
            work = 2.0 * m * n * k * experts * repeats * (1 if op == "head.logits" else layers)
            flops += work
            took += ops[op, which] / RANKS
            alone += work / rate[op, which]
    return took, alone, flops


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--types", default="f32,bf16")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--own-router", action="store_true", help="not every expert gets as many tokens")
    options = parser.parse_args()
    binaries, config = options.binaries.resolve(), model_config()
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "model.json").write_text(json.dumps(config))
        data = REPOSITORY / "tests/data/schemas"
        for dtype in options.types.split(","):
            ours = {}
            for name in options.strategies.split(","):
                strategy = {"schema": "strategy/1", "precision": dtype, "micro_batch": options.micro_batch}
                (folder / "strategy.json").write_text(json.dumps(strategy | STRATEGIES[name]))
                plan = folder / f"{name.replace(' ', '')}-{dtype}.json"
                run([binaries / "orrery", "fit", folder / "model.json", data / "cluster/good-one-cpu-node.json",
                     folder / "strategy.json", "--sequence", SEQUENCE, "--global-batch", GLOBAL_BATCH, "--calibration",
                     data / "calibration/good-cpu.json", "--out", plan])
                ours[f"orrery {name}"] = plan
            compare(options, binaries, folder, config, dtype, ours)


def compare(options, binaries, folder, config, dtype, ours):
    shapes = products(config, options.micro_batch)
    seconds, processor, shares = (collections.defaultdict(list) for _ in range(3))
    slowest = {}
    torch = [options.python, pathlib.Path(__file__).with_name("pytorch_moe.py"), "--model", folder / "model.json", "--dtype",
             dtype, "--steps", options.steps, "--sequence", SEQUENCE, "--global-batch", GLOBAL_BATCH, "--micro-batch",
             options.micro_batch] + ([] if options.own_router else ["--balanced"])
    for _ in range(options.rounds):
        rate = rates(binaries, dtype, shapes)
        for name, plan in ours.items():
            trace = folder / "trace"
            of_one, of_all = (processor_seconds([binaries / "orrery", "execute", plan, "--steps", steps, "--trace", trace] +
                                                ([] if options.own_router else ["--balanced-routing"]))
                              for steps in (1, options.steps))
            steps, ops = read_trace(trace)
            seconds[name].append(statistics.median(steps))
            took, alone, flops = products_of(ops, shapes, config, options.micro_batch, rate)
            step = statistics.mean(steps)
            processor[name].append((of_all - of_one) / (options.steps - 1))
            shares[name].append((alone / step, took / step, flops / took, flops / alone, RANKS * alone / processor[name][-1]))
            slowest[name] = sorted(ops.items(), key=lambda item: -item[1])[:14], step
        for processes, threads in ((1, 2), (2, 1)) if options.python != "-" else ():
            out = run(torch + ["--processes", processes, "--threads", threads])
            name = f"PyTorch {processes} x {threads}"
            result = json.loads(out.splitlines()[-1])
            seconds[name].append(statistics.median(result["seconds"]))
            processor[name].append(statistics.median(result["processor_seconds"]))
    print(f"\n{dtype}, {options.rounds} rounds, tokens a second: median (least, most)")
    for name, times in seconds.items():
        print(f"  {name:14} {TOKENS / statistics.median(times):7.0f} ({TOKENS / max(times):.0f}, {TOKENS / min(times):.0f}); "
              f"{statistics.median(processor[name]):.2f} processor seconds a step")
    better = [min(pair) for pair in zip(*(times for name, times in seconds.items() if name.startswith("PyTorch")))]
    for name in ours:
        ratios = [torch_time / time for torch_time, time in zip(better, seconds[name])]
        if ratios:
            print(f"  {name}: {statistics.median(ratios):.2f} of the better PyTorch ({min(ratios):.2f} to {max(ratios):.2f})")
        alone, took, rate, best, of_processor = (statistics.median(values) for values in zip(*shares[name]))
        print(f"  {name}: products {took:.0%} of the step at {rate / 1e9:.0f} Gflop/s a core; oneDNN alone, at {best / 1e9:.0f}, "
              f"would take {alone:.0%} of the step, {of_processor:.0%} of its processor time")
        ops, step = slowest[name]
        print("    " + ", ".join(f"{op} {which} {time / RANKS / step:.1%}" for (op, which), time in ops))


if __name__ == "__main__":
    main()
