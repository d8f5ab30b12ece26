#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bad_input_test.sh REPOSITORY ORRERY: what a user can get wrong. Each time one clear message with file, line and what
# was expected, the exit code of the kind of error, and no output file, not even a part of one.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas
cp "$data/cluster/good-one-cpu-node.json" cluster.json
workload=(--sequence 64 --global-batch 4)

# A key.
printf '{\n  "schema": "strategy/1",\n  "epp": 2\n}\n' >key.json
expect_error 2 'key.json:3: /epp: unknown key; did you mean "pp"?' fit moe-tiny-cpu cluster.json key.json "${workload[@]}"

# A unit.
sed 's/"7.8 GiB"/"7.8 GBs"/' cluster.json >unit.json
expect_error 2 'unit.json:43: /groups/0/host/memory: expected a size with its unit, such as "80 GiB" or "512 MB", got "7.8 GBs"
  hint: known units: B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, b, kb, Mb, Gb, Tb' \
  plan moe-tiny-cpu unit.json "${workload[@]}" --out plan.json

# A level of the simulation.
expect_error 2 '--fidelity: expected L0, L1, L2 or L3, got L5 in moe.dispatch=L5' \
  simulate plan.json --fidelity moe.dispatch=L5

# A model type, and a key that nobody knows.
sed 's/"mixtral"/"gpt9"/' "$repository/catalog/models/moe-tiny-cpu.json" >type.json
expect_error 2 'type.json:13: /model_type: expected a supported model type: "deepseek_v2", "deepseek_v3", "glm4_moe", "gpt_oss", "kimi_k2", "llama", "llama4", "llama4_text", "mistral", "mixtral", "olmoe", "qwen2", "qwen2_moe", "qwen3" or "qwen3_moe", got "gpt9"' \
  plan type.json cluster.json "${workload[@]}" --out plan.json
sed 's/"vocab_size"/"vocabulary"/' "$repository/catalog/models/moe-tiny-cpu.json" >unknown.json
run plan unknown.json cluster.json "${workload[@]}"
grep -q -- '--ignore-key vocabulary' <<<"$err" || fail "hint" "--ignore-key vocabulary" "$err"

# A batch that does not divide, a degree that does not, a rank order that nobody knows, a layout with a hole.
printf '{\n  "schema": "strategy/1",\n  "ep": 2\n}\n' >ep2.json
expect_error 2 'ep2.json:1: global_batch: expected a multiple of 2 (data-parallel ranks), got 3
  hint: nearest multiples are 2 and 4' fit moe-tiny-cpu cluster.json ep2.json --sequence 64 --global-batch 3
printf '{\n  "schema": "strategy/1",\n  "ep": 3\n}\n' >ep3.json
run fit moe-tiny-cpu cluster.json ep3.json "${workload[@]}"
[[ $code == 2 ]] || fail "exit code of ep 3" 2 "$code"
grep -q 'ep3.json:3: /ep: expected a divisor of 8 (number of experts), got 3' <<<"$err" || fail "ep 3" "a divisor" "$err"
printf '{\n  "schema": "strategy/1",\n  "order": "dp-tp"\n}\n' >order.json
expect_error 2 'order.json:3: /order: expected one of tp-cp-ep-dp-pp, tp-cp-ep-pp-dp, tp-cp-pp-ep-dp, tp-pp-cp-ep-dp, pp-tp-cp-ep-dp, tp-cp-dp-ep-pp, got "dp-tp"' \
  fit moe-tiny-cpu cluster.json order.json "${workload[@]}"
printf '{\n  "schema": "strategy/1",\n  "pp": 2, "stages": "Et)tL"\n}\n' >layout.json
expect_error 2 'layout.json:3: /stages: expected "even", a list of stages or a layout: at character 3 expected E, t, m, L, | or a group, got ")"
  hint: a layout is E for the embedding, t for a layer, m for a prediction module and L for the head, with | between stages: "Et|(tt|)*6tL"' \
  fit moe-tiny-cpu cluster.json layout.json "${workload[@]}"

# A cluster that is too small.
expect_error 3 'orrery: NVIDIA H100 SXM 80GB is not calibrated here: all times are those of NVIDIA H800 SXM 80GB, which catalog/calibration/h800.json is a calibration of
infeasible: nothing fits of what was tried, which is not all: the smallest that was tried (pp 1 ep 16 zero 3/3 micro-batch 1 1f1b overlap offload states+offload activations recompute none stages 61) needs at least 185 GiB on its fullest rank, NVIDIA H100 SXM 80GB has 79.2 GiB
  hint: search on with --time-budget, or use more devices or devices with more memory' \
  plan deepseek-v3 h100-64 --sequence 4096 --global-batch 512 --calibration h800 --out plan.json
run fit deepseek-v3 h100-64 ep2.json --sequence 4096 --global-batch 512
[[ $code == 3 ]] || fail "exit code of a plan that does not fit" 3 "$code"

# Demands that mean nothing, or leave nothing.
expect_error 2 'condition "tp=3": nothing is left of its values, which are 1 2 4 8' \
  plan mixtral-8x7b h100-64 "${workload[@]}" --where pp=1 --where tp=3 --out plan.json
expect_error 2 'conditions "tp<=2" and "tp>=4" contradict each other: no value of tp meets both, of 1 2 4 8' \
  plan mixtral-8x7b h100-64 "${workload[@]}" --where 'tp<=2' --where 'tp>=4' --out plan.json
run plan mixtral-8x7b h100-64 --sequence 4096 --global-batch 512 --where cp=4 --where tp=4 --where pp=16 --out plan.json
[[ $code == 3 && ! -e plan.json ]] || fail "exit code of demands that are too much together" 3 "$code"
grep -qE '^  hint: something can run without "cp=4" \(cp=[12] would do\), or without "tp=4" \(tp=[12] would do\), or without "pp=16" \(pp=[1248] would do\)$' <<<"$err" ||
  fail "demands that are too much together" "each of them" "$err"
run plan mixtral-8x7b h100-64 --sequence 4096 --global-batch 512 --memory-limit '1 GiB' --where pp=4 --out plan.json
[[ $code == 3 && ! -e plan.json ]] || fail "exit code of too little memory" 3 "$code"
enough=$(sed -nE 's/^  hint: something can run without --memory-limit 1.00 GiB \((.*) would do\)$/\1/p' <<<"$err")
[[ -n $enough ]] || fail "too little memory" "what would do" "$err"
run plan mixtral-8x7b h100-64 --sequence 4096 --global-batch 512 --memory-limit "$enough" --where pp=4 --no-simulation
[[ $code == 0 ]] || fail "memory that would do" "a plan in $enough" "$code, $err"
expect_error 2 'condition "schedule<=1f1b": schedule has names: expected = or !=' \
  plan mixtral-8x7b h100-64 "${workload[@]}" --where 'schedule<=1f1b' --out plan.json
expect_error 2 '--memory-limit: expected a size with its unit, such as "70 GiB", got 70' \
  plan mixtral-8x7b h100-64 "${workload[@]}" --memory-limit 70 --out plan.json

expect_error 3 'infeasible: no strategy is legal: of 20480 ways to choose schedule, vpp and overlap.ep_batch_level, the nearest to legal are 10240 that break a rule about schedule, for example: expected an even number of ranks, got 1
  hint: something can run without "pp=1" (pp=4 would do), or without "schedule=dualpipe" (schedule=1f1b would do)' \
  plan mixtral-8x7b h100-64 --sequence 4096 --global-batch 1024 --where pp=1 --where schedule=dualpipe --out plan.json
expect_error 2 '--time-budget: expected seconds above 0, got nan' \
  plan mixtral-8x7b h100-64 "${workload[@]}" --time-budget nan --out plan.json
# Before the search, which would find a plan for nothing.
expect_error 4 'orrery: cannot write nowhere/plan.json: No such file or directory' \
  plan mixtral-8x7b h100-64 --sequence 4096 --global-batch 512 --out nowhere/plan.json
run plan mixtral-8x7b h100-64 --sequence 4096 --global-batch 512 --no-simulation --memory-limit '200 GiB' \
  --where 'TP <= 1 ' --where pp=4 --where 'micro_batch=1' --where schedule=1f1b
[[ $code == 0 ]] || fail "a condition with capitals and spaces" 0 "$code, $err"
grep -q -- '^orrery: --memory-limit 200 GiB: NVIDIA H100 SXM 80GB has 79.2 GiB, which is the limit$' <<<"$err" ||
  fail "a limit above what the device has" "a note" "$err"

# What is no plan: what is missing, or what it is instead.
echo '{}' >none.json
missing='none.json:1: expected the key "schema", which is missing'
for key in model cluster calibration workload strategy placement provenance; do
  missing+=$'\n'"none.json:1: expected the key \"$key\", which is missing"
done
for verb in explain estimate fit simulate 'export --to megatron' 'plan --lost 3 --from' 'plan --place-experts'; do
  read -ra words <<<"$verb"
  expect_error 2 "$missing" "${words[@]}" none.json
  expect_error 2 'ep2.json:2: /schema: expected "plan/1", got "strategy/1"' "${words[@]}" ep2.json
done

# A cluster that does not hang together: all that is wrong with it, and no picture.
sed -e 's/"each": "400 Gbps"/"each": null/' -e 's/"rails": 8/"rails": 3/' -e 's/"per_device": "450 GB\/s"/"per_device": null/' \
  "$repository/catalog/clusters/h100-64.json" >broken.json
expect_error 2 '--ranks: expected at most 64, the devices of the cluster, got 128
broken.json: /groups/0/scale_up/per_device: expected the bandwidth of a device'"'"'s links into its domain, got null
broken.json: /groups/0/nics/each: expected the bandwidth of a NIC, got null
broken.json: /groups/0/nics/rails: expected a divisor of 8, the NICs of a node, got 3' \
  topology broken.json --ranks 128 --svg broken.svg
sed -e 's/"rail_leaf_spine"/"none"/' "$repository/catalog/clusters/h100-64.json" >apart.json
run topology apart.json
[[ $code == 2 ]] || fail "exit code of islands" 2 "$code"
grep -q 'apart.json: /fabric/kind: expected all devices to reach each other, got 8 parts that nothing joins: 8 of group "h100" from device 0 on' <<<"$err" ||
  fail "islands" "8 parts" "$err"

# Nor is a plan placed on it, and nothing of one is written or predicted.
fabric=(--sequence 4096 --global-batch 512 --calibration h800)
printf '{"schema": "strategy/1", "ep": 8, "zero_dense": 1, "zero_expert": 1, "recompute": ["full"]}' >ep8.json
sed -e 's/"each": "400 Gbps"/"each": null/' -e 's/"per_device": "450 GB\/s"/"per_device": null/' \
  "$repository/catalog/clusters/h100-64.json" >narrow.json
no_bandwidth='/groups/0/scale_up/per_device: expected the bandwidth of a device'"'"'s links into its domain, got null
FILE: AT/groups/0/nics/each: expected the bandwidth of a NIC, got null'
parts='/fabric/kind: expected all devices to reach each other, got 8 parts that nothing joins: 8 of group "h100" from device 0 on, 8 of group "h100" from device 8 on, 8 of group "h100" from device 16 on, 8 of group "h100" from device 24 on, 8 of group "h100" from device 32 on, 8 of group "h100" from device 40 on, 8 of group "h100" from device 48 on, 8 of group "h100" from device 56 on
  hint: a fabric joins the nodes of a group, a gateway two groups'
# expect_broken FILE POINTER PROBLEMS ARGUMENTS...
expect_broken() {
  local problems="$1: $2$3"
  problems=${problems//FILE/$1}
  problems=${problems//AT/$2}
  expect_error 2 "$problems" "${@:4}"
}
expect_broken narrow.json '' "$no_bandwidth" fit mixtral-8x7b narrow.json ep8.json "${fabric[@]}" --out placed.json
expect_broken narrow.json '' "$no_bandwidth" plan mixtral-8x7b narrow.json "${fabric[@]}" --out placed.json
expect_broken apart.json '' "$parts" fit mixtral-8x7b apart.json ep8.json "${fabric[@]}" --out placed.json
expect_broken apart.json '' "$parts" plan mixtral-8x7b apart.json "${fabric[@]}" --out placed.json
[[ ! -e placed.json ]] || fail "a plan on a broken cluster" "no placed.json" "one"
run fit mixtral-8x7b h100-64 ep8.json "${fabric[@]}" --out whole-plan.json
sed -e 's/"each": "400 Gbps"/"each": null/' -e 's/"each": "50 GB\/s"/"each": null/' \
  -e 's/"per_device": "450 GB\/s"/"per_device": null/' whole-plan.json >narrow-plan.json
sed -e 's/"rail_leaf_spine"/"none"/' whole-plan.json >apart-plan.json
for verb in fit estimate simulate explain; do
  expect_broken narrow-plan.json /cluster/content "$no_bandwidth" "$verb" narrow-plan.json
  expect_broken apart-plan.json /cluster/content "$parts" "$verb" apart-plan.json
done
of_another='orrery: NVIDIA H100 SXM 80GB is not calibrated here: all times are those of NVIDIA H800 SXM 80GB, which catalog/calibration/h800.json is a calibration of'
expect_error 2 "$of_another
apart.json: $parts" simulate whole-plan.json --fabric apart.json --on 0-7

sed '/"fabric"/,/}/c "fabric": {"kind": "torus", "nodes_per_leaf": 1, "dimensions": [4, 4], "planes": 1, "link": "50 GB/s"},' \
  "$repository/catalog/clusters/h100-64.json" >torus.json
expect_error 2 'torus.json:27: /fabric: expected the key "hop_latency", which is missing
torus.json:27: /fabric/dimensions: expected routers for 8 nodes, those of group "h100", got 4 x 4 routers of 1 each
torus.json:27: /fabric/planes: unknown key
  hint: known keys: dimensions, hop_latency, kind, link, nodes_per_leaf' topology torus.json

# A platform without the hosts, and a file that is none.
platform=$repository/tests/data/platforms/two-leaves.xml
expect_error 2 "$platform: expected 8 hosts, got a platform without 4 of them: node4, node5, node6, node7
  hint: the platform has 4 hosts, such as node0; the key hosts says how nodes are named, \"h{node+1}\" where they count from one" topology h100-64 --platform "$platform"
sed 's/"failures": null/"failures": null, "platform": "cluster.json"/' "$repository/catalog/clusters/h100-64.json" >platform.json
run plan mixtral-8x7b platform.json --sequence 4096 --global-batch 512 --calibration h800
[[ $code == 2 ]] || fail "exit code of a platform that is none" 2 "$code"
grep -q '^cluster.json: expected a platform of SimGrid, got: ' <<<"$err" || fail "platform" "expected a platform" "$err"

# Names and files that are not there.
expect_error 2 "model: expected a path that ends in .json, or the name of a model of the catalog $ORRERY_CATALOG (deepseek-v2, deepseek-v2-lite, deepseek-v3, glm-4.5, glm-4.5-air, gpt-oss-120b, gpt-oss-20b, gpt3-175b, kimi-k2, llama3-70b, llama3-8b, llama3.1-405b, llama4-maverick, llama4-scout, mixtral-8x22b, mixtral-8x7b, moe-tiny-cpu, olmoe-1b-7b, qwen3-235b-a22b, qwen3-30b-a3b), got \"deepsek-v3\"
  hint: did you mean \"deepseek-v3\"?" plan deepsek-v3 cluster.json "${workload[@]}"
expect_error 2 'nothere.json: expected a readable file, got: No such file or directory' estimate nothere.json
sed 's/"device": "h100"/"device": "l40s"/' "$repository/catalog/clusters/h100-64.json" >l40s-64.json
expect_error 2 'NVIDIA L40S 48GB is not calibrated: the catalog has no calibration of it
  hint: pass --calibration FILE; orrery calibrate makes one of this machine' \
  plan mixtral-8x7b l40s-64.json --sequence 4096 --global-batch 512
# One of another device is used, and that is said.
run fit mixtral-8x7b h100-64 ep2.json --sequence 4096 --global-batch 512 --calibration b200 --out other.json
[[ $err == 'orrery: NVIDIA H100 SXM 80GB is not calibrated here: all times are those of NVIDIA B200 SXM 180GB, which catalog/calibration/b200.json is a calibration of' ]] ||
  fail "calibration of another device" "a line on stderr" "$err"
run fit mixtral-8x7b h100-64 ep2.json --sequence 4096 --global-batch 512 --calibration h100 --out other.json
[[ -z $err ]] || fail "calibration of the same device" "nothing on stderr" "$err"

# Flags.
expect_error 2 'orrery: plan is required
  hint: orrery --help, orrery VERB --help' estimate
expect_error 2 'expected a model and a cluster, or --sweep FILE with many of them
  hint: orrery plan --help' plan deepseek-v3
expect_error 2 'expected --sequence and --global-batch, the work of one step
  hint: orrery plan --help' plan mixtral-8x7b h100-64 --sequence 4096
expect_error 2 '--load: expected a number above 0 instead of "x" in "zipf:x"' \
  plan mixtral-8x7b h100-64 --sequence 4096 --global-batch 512 --calibration h100 --load zipf:x
expect_error 2 'fit: expected PLAN or MODEL CLUSTER STRATEGY, got 2 files' fit moe-tiny-cpu cluster.json
expect_error 2 'fit: expected --sequence and --global-batch beside MODEL CLUSTER STRATEGY' \
  fit moe-tiny-cpu cluster.json ep2.json

# A plan, for what follows; its calibration is then another one.
cp "$data/calibration/good-cpu.json" calibration.json
expect_line 'fits +yes' fit moe-tiny-cpu cluster.json ep2.json "${workload[@]}" --calibration calibration.json --out plan.json
echo >>calibration.json
run estimate plan.json
[[ $code == 2 ]] || fail "exit code with another calibration" 2 "$code"
pattern='^calibration.json: expected the file that the plan was made with, of sha256 [0-9a-f]{12}\.\.\., got [0-9a-f]{12}\.\.\.'
[[ $err =~ $pattern ]] || fail "another calibration" "$pattern" "$err"

# A full disk: a device, standard output, and a file that may not grow.
other_device='orrery: Test CPU, 1 core per rank is not calibrated here: all times are those of cpu-2, which calibration.json is a calibration of'
expect_error 4 "$other_device
orrery: cannot write /dev/full: No space left on device" \
  fit moe-tiny-cpu cluster.json ep2.json "${workload[@]}" --calibration calibration.json --out /dev/full
"$orrery" fit plan.json >/dev/full 2>"$errors"
[[ $? == 4 ]] || fail "exit code with stdout on a full disk" 4 "another one"
[[ $(<"$errors") == 'orrery: cannot write standard output: No space left on device' ]] || fail "stdout" "no space" "$(<"$errors")"
trap '' XFSZ # the limit then fails the write, as a full disk does
out=$(ulimit -f 1 && "$orrery" fit moe-tiny-cpu cluster.json ep2.json "${workload[@]}" --calibration calibration.json \
  --out large.json 2>"$errors")
[[ $? == 4 ]] || fail "exit code when the file may not grow" 4 "another one"
[[ $(<"$errors") == "$other_device
orrery: cannot write large.json: File too large" ]] || fail "file limit" "File too large" "$(<"$errors")"
ls large.json* 2>/dev/null && fail "after a full disk" "no large.json" "$(ls large.json*)"

# More than any machine holds: each of 131,072 ranks, said before it starts.
sed 's/"nodes": 256/"nodes": 16384/' "$repository/catalog/clusters/h800-2048.json" >large-cluster.json
printf '{"schema": "strategy/1", "pp": 16, "ep": 64, "zero_dense": 1, "zero_expert": 1, "schedule": "dualpipe", "precision": "fp8", "recompute": ["full"]}' >large.json
run fit deepseek-v3 large-cluster.json large.json --sequence 4096 --global-batch 983040 --calibration h800 --out large-plan.json
[[ -f large-plan.json ]] || fail "a large plan" "large-plan.json" "$err"
for verb in estimate simulate; do
  run "$verb" large-plan.json --all-ranks
  [[ $code == 2 ]] || fail "exit code of $verb without enough memory" 2 "$code"
  pattern='the simulation would need about [0-9.]+ [GT]iB of memory, and this machine has [0-9.]+ [GT]iB left'
  [[ $err =~ $pattern ]] || fail "$verb without enough memory" "$pattern" "$err"
done

finish
