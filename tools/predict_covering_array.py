#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""predict_covering_array.py BINARIES [--most-ranks N] [--seconds S] [--steps N] [--rows A-B]: step times predicted before
they were measured.

BINARIES: a folder with orrery, orrery-rank and covering_plans of one build. The plans are those of the pairwise covering
array over TP, CP, EP, ETP, PP, ZeRO of dense and of experts, schedule, recomputation, dispatcher, type and family that the
executor's tests train, here with models large enough that a step is arithmetic (tests/unit/executor/runtime/
covering_layouts.h). For each model, number of ranks and type that occurs: `orrery calibrate`; for each plan `orrery fit`
and `orrery estimate`; only then `orrery execute`, with balanced routing as the prediction assumes.

Prints each plan's error, the medians of the errors for plans with at most as many ranks as cores and for those with more,
Kendall's tau between predicted and measured order, and how many measured steps lie in their 80 % intervals. Errors are (predicted - measured) / measured. Beside each plan stand
the median over classes of compute ops of the error against the median of the measured times, and how many times their
medians the means are: about 1 on a machine that does nothing else.
"""
import argparse
import collections
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

SEQUENCE, GLOBAL_BATCH = 128, 16
COMMON = {"hidden_size": 256, "num_hidden_layers": 4, "vocab_size": 512, "num_attention_heads": 8, "num_key_value_heads": 4,
          "head_dim": 32, "num_experts_per_tok": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "max_position_embeddings": SEQUENCE, "tie_word_embeddings": False, "hidden_act": "silu"}
MODELS = [
    COMMON | {"model_type": "mixtral", "intermediate_size": 512, "num_local_experts": 8, "router_aux_loss_coef": 0.01},
    COMMON | {"model_type": "qwen3_moe", "intermediate_size": 768, "moe_intermediate_size": 512, "num_experts": 8,
              "mlp_only_layers": [0], "norm_topk_prob": True},
    {key: value for key, value in COMMON.items() if key not in ("num_key_value_heads", "head_dim")} | {
        "model_type": "deepseek_v3", "intermediate_size": 768, "moe_intermediate_size": 512, "n_routed_experts": 8,
        "n_shared_experts": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_group": 4, "topk_group": 2,
        "norm_topk_prob": True, "routed_scaling_factor": 1.5, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
        "num_nextn_predict_layers": 1, "q_lora_rank": 96, "kv_lora_rank": 64, "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16, "v_head_dim": 32, "num_key_value_heads": 8},
    COMMON | {"model_type": "gpt_oss", "intermediate_size": 512, "num_local_experts": 8, "attention_bias": True,
              "sliding_window": 32},
    COMMON | {"model_type": "qwen2_moe", "intermediate_size": 768, "moe_intermediate_size": 512, "num_experts": 8,
              "mlp_only_layers": [0], "shared_expert_intermediate_size": 256, "qkv_bias": True}]


def run(command, may_lack_points=False):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if may_lack_points and done.returncode != 0 and "not calibrated" in done.stderr:
        return None
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def kendall_tau(pairs):
    """Of (predicted, measured): pairs of plans in the same order less those in the other, over all."""
    signs = [(a[0] - b[0]) * (a[1] - b[1]) for a, b in itertools.combinations(pairs, 2)]
    return (sum(s > 0 for s in signs) - sum(s < 0 for s in signs)) / len(signs) if signs else float("nan")


def report(title, rows):
    if not rows:
        return
    errors = [abs(row["error"]) for row in rows]
    tau = kendall_tau([(row["predicted"], row["measured"]) for row in rows])
    print(f"{title}: {len(rows)} plans, median |error| {statistics.median(errors):.1%}, mean error "
          f"{statistics.mean(row['error'] for row in rows):+.1%}, largest {max(errors):.1%}, tau {tau:.2f}; "
          f"{statistics.mean(row['low'] <= row['measured'] <= row['high'] for row in rows):.1%} in their 80 % intervals")


def times_of_ops(trace, first_step):
    """(pass, op): times of all ranks' compute ops."""
    times = collections.defaultdict(list)
    for line in open(trace):
        span = json.loads(line).get("span")
        if span and span[0] >= first_step and span[3] == "compute":
            *_, which, op = span[2].split("/")
            times[which, op.split(".b")[0]].append(span[6] - span[5])
    return times


def compare_ops(predicted, measured):
    """Median of the classes' errors, and means over medians of all that was measured."""
    errors, means, medians = [], 0.0, 0.0
    for op, times in measured.items():
        middle = statistics.median(times)
        means, medians = means + sum(times), medians + middle * len(times)
        if op in predicted and middle > 0.0:
            errors.append(abs(statistics.median(predicted[op]) - middle) / middle)
    return statistics.median(errors), means / medians


class Machine:
    def __init__(self, options, folder):
        self.orrery, self.options, self.folder, self.calibrated = options.binaries / "orrery", options, folder, {}
        for number, model in enumerate(MODELS):
            (folder / f"model{number}.json").write_text(json.dumps(model))

    def calibration(self, model, ranks, dtype):
        key = f"model{model}-{ranks}-{dtype}"
        out = self.folder / key
        if key not in self.calibrated:
            self.calibrated[key] = out
            if not (out / "calibration.json").exists():
                run([self.orrery, "calibrate", self.folder / f"model{model}.json", "--sequence", SEQUENCE, "--global-batch",
                     GLOBAL_BATCH, "--precision", dtype, "--ranks", ranks, "--seconds", self.options.seconds, "--out", out])
                print(f"calibrated {key}", file=sys.stderr)
        return out

    def predict(self, number, model, ranks, dtype):
        calibration, plan = self.calibration(model, ranks, dtype), self.folder / f"plan{number}.json"
        run([self.orrery, "fit", self.folder / f"model{model}.json", calibration / "cluster.json",
             self.folder / f"{number}.json", "--sequence", SEQUENCE, "--global-batch", GLOBAL_BATCH, "--calibration",
             calibration / "calibration.json", "--out", plan])
        out = run([self.orrery, "estimate", plan, "--calibration", calibration / "calibration.json", "--trace",
                   self.folder / f"plan{number}.analytic.trace", "--json"], may_lack_points=True)
        if not out:
            return None
        estimate = json.loads(out)
        return tuple(seconds_of(estimate[key]) for key in ("step_time", "step_time_low", "step_time_high"))

    def measure(self, number):
        out = json.loads(run([self.orrery, "execute", self.folder / f"plan{number}.json", "--steps", self.options.steps,
                              "--balanced-routing", "--trace", self.folder / f"plan{number}.cpu.trace", "--json"]))
        ops = compare_ops(times_of_ops(self.folder / f"plan{number}.analytic.trace", 0),
                          times_of_ops(self.folder / f"plan{number}.cpu.trace", 1))
        return statistics.median(seconds_of(step["time"]) for step in out["steps"][1:]), ops


def seconds_of(value):
    if isinstance(value, (int, float)):
        return float(value)
    number, unit = value.split()
    return float(number) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each calibration")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--rows", help="first and last number of plans, such as 0-9")
    parser.add_argument("--most-ranks", type=int, default=8, help="of a plan; 2: an array of plans of two ranks")
    parser.add_argument("--folder", type=pathlib.Path, help="keep files here, and take calibrations that are there")
    options = parser.parse_args()
    options.binaries = options.binaries.resolve()
    with tempfile.TemporaryDirectory() as sandbox:
        folder = options.folder or pathlib.Path(sandbox)
        folder.mkdir(parents=True, exist_ok=True)
        machine = Machine(options, folder)
        listed = run([options.binaries / "covering_plans", folder, SEQUENCE, GLOBAL_BATCH, options.most_ranks] +
                     [folder / f"model{i}.json" for i in range(len(MODELS))])
        plans = [line.split("\t") for line in listed.splitlines()]
        if options.rows:
            first, last = map(int, options.rows.split("-"))
            plans = plans[first:last + 1]
        print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {len(plans)} plans")
        rows = [{"number": number, "ranks": int(ranks), "text": text,
                 "predicted": machine.predict(number, int(model), int(ranks), dtype)}
                for number, ranks, dtype, model, text in plans]
        for row in [row for row in rows if row["predicted"] is None]:
            print(f"not calibrated: {row['text']}")
        rows = [row for row in rows if row["predicted"] is not None]
        for row in rows:
            row["predicted"], row["low"], row["high"] = row["predicted"]
            row["measured"], (of_ops, of_means) = machine.measure(row["number"])
            row["error"] = (row["predicted"] - row["measured"]) / row["measured"]
            print(f"{row['predicted'] * 1e3:8.1f} ms {row['measured'] * 1e3:8.1f} ms {row['error']:+7.1%}  ops {of_ops:4.0%}, "
                  f"means {of_means:.1f}  {row['text']}")
        cores = os.cpu_count()
        report(f"ranks <= {cores}", [row for row in rows if row["ranks"] <= cores])
        for ranks in sorted({row["ranks"] for row in rows if row["ranks"] > cores}):
            report(f"{ranks} ranks", [row for row in rows if row["ranks"] == ranks])
        report(f"ranks > {cores}", [row for row in rows if row["ranks"] > cores])
        report("all", rows)
        print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
