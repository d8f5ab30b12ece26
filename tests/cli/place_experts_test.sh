#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# place_experts_test.sh REPOSITORY ORRERY: from what routers did to experts on other ranks, predicted and run.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas

sed 's/"memory_bandwidth": null/"memory_bandwidth": {"value": "10 GB\/s", "source": "a guess"}/
  s/"per_device": null/"per_device": "10 GB\/s"/; s/"latency": null/"latency": "1 us"/' \
  "$data/cluster/good-one-cpu-node.json" >cluster.json
printf '{"schema": "strategy/1", "ep": 2, "precision": "f32"}\n' >ep2.json
cpu=(--calibration "$data/calibration/good-cpu.json")
run fit moe-tiny-cpu cluster.json ep2.json --sequence 128 --global-batch 4 "${cpu[@]}" --out plan.json
[[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"
run execute plan.json --steps 3 --trace measured.trace --json
[[ $code == 0 ]] || fail "exit code of execute" 0 "$code, $err"
losses() { grep -oE '"(loss|grad_norm)": [^,]*' <<<"$out"; }
before=$(losses)

# The recorded loads place the experts; the plan that is written predicts and trains.
place=(plan --place-experts plan.json --load popularity:measured.trace "${cpu[@]}")
run "${place[@]}" --out placed.json --placement where.json --json
[[ $code == 0 ]] || fail "exit code of plan --place-experts" 0 "$code, $err"
for key in fullest crossing step_before busiest break_even num_moved; do
  [[ $out == *"\"$key\":"* ]] || fail "JSON" "$key" "$out"
done
fullest=$(sed -nE 's/.*"fullest": ([0-9.]+).*/\1/p' <<<"$out")
[[ $(sort -g <<<"$fullest" | head -1) != $(head -1 <<<"$fullest") ]] || fail "fullest rank" "less than in order" "$fullest"
grep -q '"experts": \[' placed.json || fail "plan" "experts" "$(tail -40 placed.json)"
grep -q '"schema": "placement/1"' where.json || fail "file" "placement/1" "$(<where.json)"
placed=$(sed -nE 's/^  "step": "(.*)",$/\1/p' <<<"$out")
run estimate placed.json "${cpu[@]}" --json
[[ $out == *"\"step_time\": \"$placed\""* ]] || fail "estimate of the placed plan" "$placed" "$out"
expect_line '^  step time ' simulate placed.json "${cpu[@]}"

# Training is the same to the last bit, and the loads that it records speak of the same experts.
run execute placed.json --steps 3 --trace again.trace --json
[[ -n $before && $(losses) == "$before" ]] || fail "losses under a placement" "$before" "$(losses)"
grep '"load"' measured.trace | sort >loads
grep '"load"' again.trace | sort | cmp -s loads - ||
  fail "loads under a placement" "$(head -1 loads)" "$(grep '"load"' again.trace | sort | head -1)"

# From there nothing is gained any more; copies are said to be copies.
expect_line '^  fastest +order of the plan$' plan --place-experts placed.json "${cpu[@]}"
expect_line '^  note: copies: ' "${place[@]}" --redundant-experts 2
expect_line '^  note: every expert gets the same' plan --place-experts plan.json "${cpu[@]}"

# What is wrong.
expect_error 2 '--out: expected no redundant experts, since a plan has every expert once
  hint: --placement FILE writes where their copies are' "${place[@]}" --redundant-experts 2 --out never.json
expect_error 2 'redundant experts: expected a multiple of the 2 ranks of an EP group, got 3' \
  "${place[@]}" --redundant-experts 3
run estimate plan.json "${cpu[@]}" --trace predicted.trace
# The calibration is of another device than the cluster's, which is said first.
other="Test CPU, 1 core per rank is not calibrated here: all times are those of cpu-2, which ${cpu[1]} is a calibration of"
expect_error 2 "orrery: $other
predicted.trace: expected a trace with load records, got none
  hint: orrery execute PLAN --trace FILE records them" \
  plan --place-experts plan.json --load popularity:predicted.trace "${cpu[@]}"
finish
