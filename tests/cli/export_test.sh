#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# export_test.sh REPOSITORY ORRERY: a plan in the words of each trainer.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
printf '{"schema": "strategy/1", "pp": 16, "ep": 64, "zero_dense": 1, "zero_expert": 1, "recompute": "full"}\n' >v3.json
run fit deepseek-v3 h800-2048 v3.json --sequence 4096 --global-batch 15360 --calibration h800 --out plan.json
[[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"

expect_line '^--expert-model-parallel-size 64$' export plan.json --to megatron
expect_line '^model\.expert_model_parallel_size=64$' export plan.json --to bridge
expect_line '^  "train_batch_size": 15360,$' export plan.json --to deepspeed
wanted='not expressed in ds_config JSON of DeepSpeed 0.19.6:
  pp: in code: a PipelineModule of 16 stages
  stages: in code: layers lie as Et*3|t*3|(t*4|)*13t*3L
  stages/recompute: in code: every layer checkpoints full
  ep: the router'"'"'s bias that balances experts is off: its automatic expert parallelism has none'
[[ $err == "$wanted" ]] || fail "what DeepSpeed cannot express" "$wanted" "$err"
expect_line '"key": "pp",' export plan.json --to deepspeed --json

expect_error 3 'infeasible: torchtitan v0.2.2 cannot do what this plan says
  zero_dense: FSDP shards weights and gradients as well: ZeRO 0, 2 or 3
  hint: orrery plan ... --where zero_dense=2 --where zero_expert=2' export plan.json --to torchtitan --out job.toml
run export plan.json --to torchtitan --json
[[ $code == 3 && $out == *'"text": null'*'"key": "zero_dense"'* ]] || fail "JSON of a refusal" "null and why" "$code, $out"

run export plan.json --to megatron --out arguments.txt
[[ $code == 0 && -z $out ]] || fail "export to a file" "no output" "$code, $out"
run export plan.json --to megatron
[[ $out == "$(<arguments.txt)" ]] || fail "file and output" "the same" "$out"

# What a trainer runs of what it refuses, as conditions of a search: a plan of that search is written.
pair=(mixtral-8x7b h100-64 --sequence 4096 --global-batch 512)
run plan "${pair[@]}" --no-simulation --where schedule=zbv --where pp=4 --where recompute=none --out zbv.json
run export zbv.json --to megatron
[[ $code == 3 && $err == *'  hint: orrery plan ... --where schedule=1f1b,interleaved'* ]] ||
  fail "what Megatron would run" "a hint" "$code, $err"
run plan "${pair[@]}" --no-simulation --where pp=4 --where recompute=none --where schedule=1f1b,interleaved \
  --where zero_dense=1 --where zero_expert=1 --out 1f1b.json
run export 1f1b.json --to megatron
[[ $code == 0 ]] || fail "a plan under these conditions" 0 "$code, $err"

run export plan.json --to nemo
[[ $code == 2 ]] || fail "exit code of an unknown trainer" 2 "$code"
grep -q 'nemo not in {megatron,bridge,deepspeed,torchtitan,torchtitan-head,huggingface}' <<<"$err" || fail "unknown trainer" "the known ones" "$err"
expect_error 2 'nothere.json: expected a readable file, got: No such file or directory' export nothere.json --to bridge

finish
