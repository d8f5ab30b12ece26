#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# verbs_test.sh REPOSITORY ORRERY: each verb on small input, its table and its JSON. What takes minutes, `calibrate`
# and `demo`, is run by the README's test.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas
workload=(--sequence 4096 --global-batch 64)

# detect: this machine is read again; a tree of another one; several nodes as one cluster.
expect_line '"schema": "cluster/1"' detect
run detect --out this.json
[[ $code == 0 && -z $out && $err == *"orrery: detect: /price, /pue"* ]] || fail "detect to a file" "questions alone" "$code, $out, $err"
printf '{"schema": "strategy/1"}\n' >any.json
expect_line '^  parameters ' fit moe-tiny-cpu this.json any.json --sequence 64 --global-batch 128
run detect --merge this.json this.json --out two.json
[[ $code == 0 && $(<two.json) == *'"nodes": 2,'* ]] || fail "two nodes" "one group" "$code, $err"
expect_error 2 "none.json: expected a readable file, got: No such file or directory" detect --merge none.json

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
grep -qE '^  recompute [a-z_+]+ in every stage +[0-9.]+ GiB +\+[0-9.]+ %$' <<<"$out" || fail "remedies" "recomputation" "$out"
grep -qE '^  headroom +-[0-9.]+ GiB$' <<<"$out" || fail "headroom" "below zero" "$out"
grep -qE '^  when +in a (forward|backward) of stage [0-9]+$' <<<"$out" || fail "moment" "a slot" "$out"

# fit: every stage as Megatron-LM writes it, and back.
expect_line '^  the same for Megatron-LM +Et\*3\|t\*3\|\(t\*4\|\)\*13t\*3L$' "${fit_v3[@]}"
sed 's/"even"/"Et*3|t*3|(t*4|)*13t*3L"/' v3.json >layout.json
run "${fit_v3[@]}" && even=$out
run fit deepseek-v3 h800-2048 layout.json --sequence 4096 --global-batch 15360
[[ $out == "$even" ]] || fail "the same layout" "the same output" "$out"

# fit: no single change is enough, a pair is; nothing is.
printf '{"schema": "strategy/1", "pp": 8, "ep": 8}\n' >pair.json
run fit deepseek-v3 h800-2048 pair.json --sequence 4096 --global-batch 15360
[[ $code == 3 ]] || fail "exit code of fit" 3 "$code"
grep -q '^No single change makes it fit; the cheapest pair that does:$' <<<"$out" || fail "remedies" "a pair" "$out"
printf '{"schema": "strategy/1"}\n' >none.json
run fit deepseek-v3 h800-2048 none.json --sequence 4096 --global-batch 16384
grep -q 'note: no change and no pair of changes makes it fit' <<<"$out" || fail "remedies" "none" "$out"

# fit: memory over time ends with the states alone.
printf '{"schema": "strategy/1", "pp": 2, "ep": 2, "zero_dense": 1}\n' >small.json
run fit moe-tiny-cpu h100-64 small.json --sequence 64 --global-batch 128 --timeline timeline.csv --json
[[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"
[[ $(head -1 timeline.csv) == pipeline_rank,op,tensor_bytes,total_bytes ]] || fail "timeline" "a header" "$(head -1 timeline.csv)"
for rank in 0 1; do
  [[ $(grep "^$rank," timeline.csv | tail -1) == "$rank",step/stage*/update/*,0,* ]] ||
    fail "timeline" "no tensor at the end of rank $rank" "$(grep "^$rank," timeline.csv | tail -1)"
done

# fit: the questions the other way round.
limits=(--fewest-devices --longest-sequence --largest-micro-batch --largest-layers)
for question in 'fewest devices' 'longest sequence' 'largest micro-batch' 'most layers'; do
  expect_line "^  $question +[0-9,]+ +[0-9.]+ [GM]iB  [a-z]" "${fit_v3[@]}" "${limits[@]}"
done
models=(--largest-model qwen3-30b-a3b deepseek-v3 mixtral-8x7b)
expect_line '^  largest model  deepseek-v3 ' "${fit_v3[@]}" "${models[@]}"
expect_line '^  mixtral-8x7b +46,702,792,704 +32 +- +no +ep: expected a divisor of 8' "${fit_v3[@]}" "${models[@]}"
run "${fit_v3[@]}" "${limits[@]}" "${models[@]}" --json
for count in '"headroom": 17' '"question": 5' '"rank": 16' '"model": 4' '"part": 18'; do
  [[ $(grep -cF "${count%: *}:" <<<"$out") == "${count##*: }" ]] || fail "JSON of fit" "$count" "$out"
done

# topology: counts, paths, what binds, what is unknown, and two pictures.
expect_line '^  spine switches +256$' topology h800-2048 --ecmp-seeds 3 --dot h800.dot --svg h800.svg
expect_also '^  bisection, each way +51\.2 TB/s$'
expect_also '^  spine +node0\.device0 +node32\.device0 +50\.0 GB/s +2\.80 us +PCIe, NIC, uplink$'
expect_also '^  all-to-all +50\.2 GB/s +NIC '
expect_also '^  to the next leaf +[1-9][0-9.]* +[1-9][0-9.]* +[1-9][0-9.]*$'
expect_also '^  /carbon_intensity +emissions$'
expect_line '"leaf_oversubscription": 1' topology h800-2048 --json
grep -q '^  p[0-9]* -- p[0-9]* \[label="8 x 200 GB/s"\];$' h800.dot || fail "h800.dot" "8 x 200 GB/s" "$(cat h800.dot)"
grep -q '>2048 x device</text>$' h800.svg || fail "h800.svg" "2048 x device" "$(cat h800.svg)"

# topology: a torus of 64 nodes of 8 devices. A link carries 32 pairs of nodes, 64 bytes each, while a device sends 511.
sed -e '/"fabric"/,/}/c "fabric": {"kind": "torus", "nodes_per_leaf": 1, "dimensions": [4, 4, 4], "link": "50 GB/s", "hop_latency": "200 ns"},' \
  -e 's/"nodes": 8/"nodes": 64/' "$repository/catalog/clusters/h100-64.json" >torus.json
expect_line '^  routers +64$' topology torus.json
expect_line '^  spine +node0\.device0 +node42\.device0 +50\.0 GB/s +4\.00 us +PCIe, NIC, hop \(6 between routers\)$' topology torus.json
expect_line '^  all-to-all +12\.5 GB/s +hop ' topology torus.json

# plan: the same plan and the same certificate with any number of threads; what is known so far, on stderr.
few=(plan mixtral-8x7b h100-64 "${workload[@]}" --where pp=1,2 --where 'tp<=2' --where cp=1 --where ep=8 --where etp=1 --json)
for threads in 1 2 7; do
  ORRERY_THREADS=$threads run "${few[@]}" --out threads.json
  [[ $code == 0 ]] || fail "exit code with $threads threads" 0 "$code, $err"
  [[ $threads == 1 ]] && single=$out plan_of_one=$(<threads.json)
  [[ $out == "$single" && $(<threads.json) == "$plan_of_one" ]] || fail "answer with $threads threads" "that of one" "$out"
done
grep -qE '^orrery: analytic: [0-9]+ done, [0-9]+ evaluated, [0-9]+ pruned, best [0-9.]+ m?s, gap [0-9.]+ %$' <<<"$err" ||
  fail "progress" "evaluated, pruned, best, gap" "$err"
for row in '"first": "closed", "second": "analytic"' '"first": "analytic", "second": "simgrid"'; do
  [[ $(tr -s ' \n' ' ' <<<"$out") == *"$row, \"plans\": "* ]] || fail "disagreement of tiers" "$row" "$out"
done
ORRERY_THREADS=none expect_error 2 'ORRERY_THREADS: expected a number of threads from 1 to 1024, got "none"' "${few[@]}"

# plan, estimate, simulate: one plan through all of them.
run plan qwen3-30b-a3b h100-64 "${workload[@]}" --calibration h800 --out plan.json
[[ $code == 0 ]] || fail "exit code of plan" 0 "$code, $err"
for tier in operators pipelines memory bound closed analytic simgrid; do
  grep -qE "^  $tier +[0-9,]+ +[0-9,]+  " <<<"$out" || fail "tiers" "$tier" "$out"
done
grep -q '^orrery: simgrid: 4 done, ' <<<"$err" || fail "progress" "simgrid: 4 done" "$err"
cp plan.json first.json
run plan qwen3-30b-a3b h100-64 "${workload[@]}" --calibration h800 --out plan.json
grep -qE '^  80 % interval, from +[0-9.]+ m?s$' <<<"$out" || fail "plan" "an interval of time" "$out"
grep -qE '^  memory, 80 % to +[0-9.]+ GiB$' <<<"$out" || fail "plan" "an interval of memory" "$out"
sed '/"command"/d' plan.json >second && sed '/"command"/d' first.json | cmp - second || fail "two runs" "equal plans" "not"
expect_line '^  interpreter +analytic$' estimate plan.json --trace analytic.trace
expect_line '^  extrapolated +yes$' estimate plan.json
expect_line '^  MFU, causal +[0-9.]+ %$' estimate plan.json
expect_line '^  MFU, non-causal +[0-9.]+ %$' estimate plan.json
expect_line '^  interpreter +simgrid$' simulate plan.json --trace simgrid.trace --perfetto simgrid.perfetto
expect_line '^  moe\.dispatch +[0-9,]+( +[0-9.]+ [mu]?s){3} +[1-9][0-9.]* +[1-9][0-9.]*$' simulate plan.json
expect_line '"least_ratio": [1-9]' simulate plan.json --json
expect_line '^  node[0-9]+\.[a-z_]+\.out +(scale-up|NIC|uplink) +[0-9.]+ [GTM]iB +[0-9.]+ % +[0-9.]+ %$' simulate plan.json
grep -q '^{"name":"NIC links, per cent in use","ph":"C"' simgrid.perfetto || fail "timeline" "use of NICs" "none"
expect_line '^step time +' compare analytic.trace simgrid.trace
expect_line '"step_time": \{' compare analytic.trace simgrid.trace --json

# A platform of SimGrid states the rates: 50 GB/s for the 8 NICs of a node, two nodes on 25 GB/s of uplinks.
sed -e 's/"nodes": 8/"nodes": 4/' -e 's/"nodes_per_leaf": 8/"nodes_per_leaf": 2/' -e 's/"each": "400 Gbps"/"each": null/' \
  -e "s|\"failures\": null|\"failures\": null, \"platform\": \"$repository/tests/data/platforms/two-leaves.xml\"|" \
  "$repository/catalog/clusters/h100-64.json" >platform.json
expect_line '^  spine +node0\.device0 +node2\.device0 +3\.12 GB/s +2\.00 us ' topology platform.json
printf '{"schema": "strategy/1", "ep": 8, "zero_dense": 1}\n' >ep8.json
expect_line '^  devices +32$' fit moe-tiny-cpu platform.json ep8.json --sequence 64 --global-batch 64 --calibration h800 --out platform-plan.json
grep -q '"each": "6.25 GB/s"' platform-plan.json || fail "plan" "the platform's rate" "$(grep each platform-plan.json)"
expect_line '^  interpreter +simgrid$' simulate platform-plan.json

# A step on a torus whose links are slower than NICs takes longer, and both interpreters say by how much.
sed -e '/"fabric"/,/}/c "fabric": {"kind": "torus", "nodes_per_leaf": 1, "dimensions": [2, 4], "link": "50 GB/s", "hop_latency": "200 ns"},' \
  "$repository/catalog/clusters/h100-64.json" >torus-64.json
printf '{"schema": "strategy/1", "ep": 64, "zero_dense": 1}\n' >ep64.json
for name in h100-64 torus-64.json; do
  expect_line '^  fits +yes$' fit qwen3-30b-a3b $name ep64.json "${workload[@]}" --calibration h800 --out routed.json
  run estimate routed.json && estimated=$(grep '^  step time ' <<<"$out")
  run simulate routed.json && simulated=$(grep '^  step time ' <<<"$out")
  [[ $estimated == "$simulated" && $estimated != "${before:-}" ]] || fail "step on $name" "${estimated:-a time}" "${simulated:-none}"
  before=$estimated
done

# In pairs every group's flows meet on the cables of the torus: of gradients as many rings as a node has devices.
printf '{"schema": "strategy/1", "pp": 2, "ep": 8, "zero_dense": 1}\n' >ep8-pp2.json
expect_line '^  fits +yes$' fit qwen3-30b-a3b torus-64.json ep8-pp2.json "${workload[@]}" --calibration h800 --out routed.json
expect_line 'do not compete on links between routers' simulate routed.json --fidelity L1
expect_line '^  router[01]\.[0-3] -> router[01]\.[0-3] +router +[0-9.]+ [GTM]iB +[0-9.]+ % +100\.0 %$' simulate routed.json --fidelity L2
expect_line 'take routes over the links between routers, balanced$' simulate routed.json --fidelity L2
expect_line '^  interpreter +simgrid$' simulate routed.json --fidelity L2 --perfetto routed.perfetto
grep -q '^{"name":"router links, per cent in use","ph":"C"' routed.perfetto || fail "timeline" "use of cables" "none"

# Hashed paths: one seed, or the spread of several.
sed 's/"nodes_per_leaf": [0-9]*/"nodes_per_leaf": 2/' "$repository/catalog/clusters/h100-64.json" >leaves.json
expect_line '^  fits +yes$' fit qwen3-30b-a3b leaves.json ep64.json "${workload[@]}" --calibration h800 --out hashed.json
expect_line '^  (leaf|plane).* -> .* +uplink +[0-9.]+ [GTM]iB +[0-9.]+ % +[0-9.]+ %$' simulate hashed.json --ecmp-seed 1
expect_line 'drawn with seed 1 among equal ones$' simulate hashed.json --ecmp-seed 1
expect_line 'paths are drawn for pairs: communications below L2 are simulated at L2$' simulate hashed.json --ecmp-seed 1
spread=(simulate hashed.json --ecmp-seeds 2 --fidelity L2)
expect_line '^Step time with hashed paths, 2 seeds:$' "${spread[@]}"
expect_line '^  balanced +[0-9.]+ m?s +1$' "${spread[@]}"
expect_line '^  hashed, least +[0-9.]+ m?s +1\.[0-9]+$' "${spread[@]}"

# Intervals of a GPU's plan: of its memory in fit, plan and estimate, of its time in plan, estimate and explain.
expect_line '^  memory, 80 % from +[0-9.]+ GiB$' fit routed.json
expect_line '^  memory, 80 % to +[0-9.]+ GiB$' estimate routed.json
expect_line '^  device-hours +[0-9.]+$' estimate routed.json
expect_line '^  80 % interval, from +[0-9.]+ m?s$' explain routed.json

# calibrate --device: the catalog's tables with the factors of a framework.
expect_line '^  framework +nanotron$' calibrate --device h100 --framework nanotron --out-calibration h100.json
grep -q '"source": ".*tables of kernels.*factors of training with nanotron' h100.json || fail "h100.json" "factors" "none"
expect_error 2 '--framework: expected one of composer, internevo, megatron, megatron-bridge, megatron-deepspeed, nanotron, torchtitan, got "megatorn"' \
  calibrate --device h100 --framework megatorn

# DeepSeek-V3 as it was published, by tables of kernels alone: 1543 tokens/s and GPU were measured (docs/accuracy.md), and
# no training run enters this prediction.
cat >published.json <<'END'
{"schema": "strategy/1", "pp": 16, "ep": 64, "zero_dense": 1, "zero_expert": 1, "micro_batch": 1,
 "schedule": "dualpipe", "stages": "even", "recompute": ["layernorm", "mla_up_proj", "moe_act"],
 "precision": "fp8", "fp8_activation_input": true, "dispatcher": "two_level", "mtp": "on", "moment_dtype": "bf16",
 "overlap": {"shared_expert": true}}
END
h800=$repository/catalog/calibration/tables/h800.json
expect_line '^  fits +yes$' fit deepseek-v3 h800-2048 published.json --sequence 4096 --global-batch 15360 \
  --calibration "$h800" --out v3.json
expect_line '^  tokens/s and device +1,54[0-9]$' estimate v3.json --calibration "$h800"
expect_line '^  80 % interval, to +29\.[0-9]+ s$' estimate v3.json --calibration "$h800"  # of predictions without a fit

# What one has to pay, per step and per token, and what is not known for want of a price or an intensity.
expect_line '^  carbon of a step, kg CO2e +unknown: no carbon intensity is stated$' estimate v3.json --calibration "$h800"
expect_line '"kg_co2e_per_million_tokens": null' estimate v3.json --calibration "$h800" --json
sed 's/"price": null/"price": "2 USD\/h"/; s/"carbon_intensity": null/"carbon_intensity": "0.4 kg\/kWh"/' \
  "$repository/catalog/clusters/h100-64.json" >priced.json
priced=(plan mixtral-8x7b priced.json --sequence 4096 --global-batch 256 --time-budget 1 --no-simulation)
expect_line '^  price of a million tokens, USD +[0-9.]+$' "${priced[@]}" --out priced-plan.json
for label in 'price of a step, USD' 'price of a million tokens, USD' 'carbon of a step, kg CO2e' 'carbon of a million tokens, kg CO2e'; do
  expect_line "^  $label +[0-9.]+$" estimate priced-plan.json
done

# A calibration of another device: everything is extrapolated, and the interval is wider.
run estimate priced-plan.json
! grep -Eq '^  note: extrapolated: .*attn\.norm' <<<"$out" || fail "own calibration" "attn.norm as measured" "$out"
expect_line '^  note: extrapolated: .*attn\.norm' estimate priced-plan.json --calibration b200

# estimate: an interval, energy, price.
expect_line '^  80 % interval, to +[0-9.]+ m?s$' estimate plan.json
expect_line '^  energy of a token +[0-9.]+ m?J$' estimate plan.json
expect_line '^  of it memory-bound ops +[0-9.]+ k?J$' estimate plan.json
grep -q '"step_time_80": {' plan.json || fail "plan.json" "an interval of the step time" "none"
expect_line '^  interpreter +simgrid$' simulate plan.json --fidelity L0
expect_line 'SimGrid at L1, moe.dispatch=L3: .* communications as flows, [0-9]+ of them at L3' \
  simulate plan.json --fidelity moe.dispatch=L3
# A plan says it, too, and the command line goes before it; what it does not name stays.
sed 's/^  "provenance": {/  "fidelity": {"default": "L0", "moe.dispatch": "L3"},\n&/' plan.json >levels.json
expect_line 'SimGrid at L0, moe.dispatch=L3: .* as flows, [0-9]+ of them at L3' simulate levels.json
expect_line 'SimGrid at L1, moe.dispatch=L3: .* as flows, [0-9]+ of them at L3' simulate levels.json --fidelity L1
expect_line 'SimGrid at L0, moe.dispatch=L0: 0 of ' simulate levels.json --fidelity moe.dispatch=L0
for level in L0 L1; do  # its communications count at the level they have, whoever says so
  run simulate plan.json --fidelity "$level" && by_flag=$out
  sed 's/^  "provenance": {/  "fidelity": {"default": "'"$level"'"},\n&/' plan.json >levels.json
  run simulate levels.json
  [[ $code == 0 && $out == "$by_flag" ]] || fail "a plan at $level" "as with --fidelity $level" "$out, $err"
done

# Disturbances: a slow rank in both interpreters; a link that is down for good ends the command, not in a hang.
printf '{"schema": "disturbances/1", "stragglers": [{"rank": 5, "factor": 1.3}]}\n' >straggler.json
for verb in estimate simulate; do
  expect_line '^  step time +[0-9.]+ m?s$' "$verb" plan.json --disturbances straggler.json
done
printf '{"schema": "disturbances/1", "links": [{"link": "nic", "node": 1, "left": 0}]}\n' >down.json
run simulate plan.json --disturbances down.json
[[ $code == 4 ]] || fail "exit code of a link that is down" 4 "$code"
grep -q 'these links are down: node1.nic.in, node1.nic.out' <<<"$err" || fail "the link" "node1.nic" "$err"
grep -Eq '^  step/.* waits since .* on ranks' <<<"$err" || fail "what waits" "an op" "$err"
run estimate plan.json --disturbances down.json
[[ $code == 2 ]] || fail "exit code of estimate with links" 2 "$code"

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

# execute --reproducible: what it cannot hold is said before anything starts. What it holds: elastic_test.sh.
sed 's/"tp": 1/"tp": 2/; s/"sp": false/"sp": true/' small.json >tp.json
expect_error 2 "--reproducible: expected tp 1, since its ranks round parts of a product's sums before they are added, got 2" \
  execute tp.json --reproducible
expect_line '^0\.[0-9]+\.[0-9]+$' --version

finish
