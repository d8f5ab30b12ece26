#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# verbs_test.sh REPOSITORY ORRERY: each verb on small input, its table and its JSON. What takes minutes, `calibrate`
# and `demo`, is run by the README's test.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas
workload=(--sequence 4096 --global-batch 64)

# fit: exact counts, every convention of "active" by name, and what is left out.
printf '{"schema": "strategy/1", "pp": 16, "ep": 64, "zero_dense": 1, "zero_expert": 1, "stages": "even", "recompute": "full"}\n' >v3.json
fit_v3=(fit deepseek-v3 h800-2048 v3.json --sequence 4096 --global-batch 15360)
expect_line '^  parameters +671,026,419,200$' "${fit_v3[@]}"
expect_line '^  active, without embedding and head +35,698,924,544$' "${fit_v3[@]}"
expect_line '^  fits +yes$' "${fit_v3[@]}"
expect_line 'note: the 1 multi-token-prediction module of deepseek-v3 is left out: mtp is off' "${fit_v3[@]}"
expect_line '"parameters": 671026419200,' "${fit_v3[@]}" --json
expect_line '"fits": true,' "${fit_v3[@]}" --json
printf '{"schema": "strategy/1", "pp": 16, "ep": 64}\n' >large.json
run fit deepseek-v3 h800-2048 large.json --sequence 4096 --global-batch 15360
[[ $code == 3 ]] || fail "exit code of fit" 3 "$code"
grep -q 'recompute full in every stage' <<<"$out" || fail "remedies" "recompute full in every stage" "$out"

# plan, estimate, simulate: one plan through all of them.
run plan qwen3-30b-a3b h100-64 "${workload[@]}" --calibration h800 --out plan.json
[[ $code == 0 ]] || fail "exit code of plan" 0 "$code, $err"
for tier in legality memory closed analytic simgrid; do
  grep -qE "^  $tier +[0-9,]+ +[0-9,]+  " <<<"$out" || fail "tiers" "$tier" "$out"
done
grep -q '^orrery: simgrid: 4 done$' <<<"$err" || fail "progress" "simgrid: 4 done" "$err"
cp plan.json first.json
run plan qwen3-30b-a3b h100-64 "${workload[@]}" --calibration h800 --out plan.json
sed '/"command"/d' plan.json >second && sed '/"command"/d' first.json | cmp - second || fail "two runs" "equal plans" "not"
expect_line '^  interpreter +analytic$' estimate plan.json --trace analytic.trace
expect_line '^  extrapolated +yes$' estimate plan.json
expect_line '^  MFU, causal +[0-9.]+ %$' estimate plan.json
expect_line '^  MFU, non-causal +[0-9.]+ %$' estimate plan.json
expect_line '^  interpreter +simgrid$' simulate plan.json --trace simgrid.trace --perfetto simgrid.perfetto
expect_line '^step time +' compare analytic.trace simgrid.trace
expect_line '"step_time": \{' compare analytic.trace simgrid.trace --json

# validate: errors by group, outcomes, and what is not modelled by its reason.
runs=$repository/tests/data/runs/published.json
expect_line '^  runs +13$' validate "$runs"
expect_line '^  simumax +mem_alloc_gib +[0-9]+ +0\.[0-9] % ' validate "$runs" --memory
expect_line '^  nanotron +all +[0-9]+ +0 +0 +[0-9]+ +[0-9]+ +100\.0 % +100\.0 %$' validate "$runs"
expect_line '^  task: lora +1 +bridge-285e9ead$' validate "$runs"
expect_line '"group": "simumax"' validate "$runs" --json
expect_line '^  interpreter +simgrid$' simulate plan.json --fidelity L0

# execute: the loss falls, and memory is what was predicted, to the byte.
printf '{"schema": "strategy/1", "zero_dense": 1, "zero_expert": 1, "precision": "f32"}\n' >zero.json
cp "$data/cluster/good-one-cpu-node.json" cluster.json
run fit moe-tiny-cpu cluster.json zero.json --sequence 64 --global-batch 16 \
  --calibration "$data/calibration/good-cpu.json" --out small.json --json
predicted=$(grep '"peak_memory"' <<<"$out")
run execute small.json --steps 10 --trace cpu.trace --json
[[ $code == 0 ]] || fail "exit code of execute" 0 "$code, $err"
[[ $(grep '"peak_memory"' <<<"$out") == "$predicted" ]] || fail "memory" "$predicted" "$(grep '"peak_memory"' <<<"$out")"
mapfile -t losses < <(grep -o '"loss": [0-9.]*' <<<"$out" | grep -o '[0-9.]*')
[[ ${#losses[@]} == 10 ]] || fail "losses" 10 "${#losses[@]}"
awk "BEGIN { exit !(${losses[9]} < ${losses[0]}) }" || fail "loss" "below ${losses[0]}" "${losses[9]}"
expect_line '^tokens/s ' compare cpu.trace cpu.trace
expect_line '^0\.[0-9]+\.[0-9]+$' --version

finish
