#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# replan_test.sh REPOSITORY ORRERY: a plan for what is left of another one's devices, and what other verbs make of it.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas

printf '{"schema": "strategy/1", "pp": 2, "ep": 8, "zero_dense": 1, "zero_expert": 1}\n' >old.json
run fit moe-tiny-cpu h100-64 old.json --sequence 64 --global-batch 960 --out plan.json
[[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"

# A node is gone: the report, its certificate, and a plan that the others read.
replan=(plan --from plan.json --lost 8-15)
expect_line '^  devices that are left +56$' "${replan[@]}"
expect_line '^  tp +1 +kept from the old plan$' "${replan[@]}"
expect_line '^  devices +[0-9 ]+ +the largest worlds that the rules allow$' "${replan[@]}"
expect_line '^  gap to the smallest bound +[0-9.]+ %$' "${replan[@]}"
run "${replan[@]}" --out left.json --json
[[ $code == 0 ]] || fail "exit code of plan --from" 0 "$code, $err"
for key in received_moments from_checkpoint_masters lost_alone move_time total break_even; do
  [[ $out == *"\"$key\":"* ]] || fail "JSON" "$key" "$out"
done
[[ $(grep -cE '^ +(8|9|1[0-5]),?$' left.json) == 0 ]] || fail "devices of the plan" "none of 8 to 15" "$(<left.json)"
devices=$(sed -nE 's/^  "devices": ([0-9]+),$/\1/p' <<<"$out")
expect_line "^  devices +$devices\$" estimate left.json
expect_line "^  devices +$devices\$" simulate left.json
expect_line '^  fits +yes$' fit left.json
# And from there once more.
expect_line '^  devices that are left' plan --from left.json --lost 0 --steps-left 10

# Of two CPU ranks one is left, which runs what there is.
sed 's/"memory_bandwidth": null/"memory_bandwidth": {"value": "10 GB\/s", "source": "a guess"}/' \
  "$data/cluster/good-one-cpu-node.json" >cluster.json
printf '{"schema": "strategy/1", "ep": 2, "precision": "f32"}\n' >ep2.json
cpu=(--calibration "$data/calibration/good-cpu.json")
run fit moe-tiny-cpu cluster.json ep2.json --sequence 32 --global-batch 4 "${cpu[@]}" --out two.json
[[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"
run plan --from two.json --lost 1 "${cpu[@]}" --out one.json
[[ $code == 0 ]] || fail "exit code of plan --from on CPU ranks" 0 "$code, $err"
expect_line '^  devices +1$' execute one.json --steps 1

# What is wrong, and what is not possible.
expect_error 2 '--lost: ranks: expected numbers below 64, got 64' plan --from plan.json --lost 3,64
expect_error 2 '--lost: expected a rank that is left, got all 64' plan --from plan.json --lost 0-63
expect_error 2 '--lost: ranks: expected numbers such as "3,8-15", got "8-3"' plan --from plan.json --lost 8-3
expect_error 2 '--from: expected --lost RANKS, such as "3,8-15"' plan --from plan.json
expect_error 2 '--horizon: expected a time with its unit, such as "1 h", got 5' "${replan[@]}" --horizon 5
expect_error 2 '--horizon: expected a time with its unit, such as "1 h", got 0 s' "${replan[@]}" --horizon "0 s"
run plan --from plan.json --lost 0-59 --where ep=8
[[ $code == 3 && $err == *"infeasible: no world of the 4 devices that are left splits 960 sequences by the rules"* ]] ||
  fail "nothing left to do" "exit code 3 and the reason" "$code, $err"

# Other objectives than time, and two at once; time, as it is without a word.
small=(plan moe-tiny-cpu h100-64 --sequence 64 --global-batch 128 --no-simulation --where pp=1,2 --where ep=8
  --where tp=1 --where cp=1 --where micro_batch=1)
expect_line '^  energy of a step +[0-9.]+ [kM]?J$' "${small[@]}" --objective energy
expect_line '^  energy of a step +[0-9.]+ k?J$' "${small[@]}" --objective memory
expect_line '^  energy of a step +[0-9.]+ [kM]?J$' "${small[@]}" --objective time
with=$out
run "${small[@]}"
[[ $out == "$with" ]] || fail "--objective time" "the output without it" "$with"
# Conditions in words, and what a strategy states that is searched all the same.
expect_line '^  pipeline .pp. +2$' "${small[@]}" --where "TP at most 8" --where "at most 70 GiB" --where "pp is 2"
printf '{"schema": "strategy/1", "pp": 2, "optimizer": "muon"}\n' >stated.json
run "${small[@]}" --strategy stated.json
[[ $err == *'orrery: --strategy: pp 2 is searched, whatever it states: conditions (--where) keep a value'* ]] ||
  fail "what is searched" "pp 2" "$err"
expect_line '^  #  +step +energy ' "${small[@]}" --pareto energy,time --points 4
expect_line '^  note: gap: .* what it made least$' "${small[@]}" --pareto energy,time --points 4
expect_line '^  what was searched +limits of memory that fall by at least ' "${small[@]}" --pareto time,memory --points 4
expect_error 2 '--objective: expected one of time, energy, cost, carbon, memory, got "speed"' "${small[@]}" --objective speed
expect_error 2 '--pareto: expected one of time, energy, cost, carbon, memory, got "speed"' "${small[@]}" --pareto time,speed
expect_error 2 'carbon: expected a carbon_intensity of cluster "h100-64"' "${small[@]}" --objective carbon
expect_error 2 'cost: expected a price, of cluster "h100-64" or of its devices' "${small[@]}" --objective cost
expect_error 2 '--pareto: expected two objectives that differ: on given devices energy and carbon have the same plans' \
  "${small[@]}" --pareto energy,carbon
finish
