#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# hosts_test.sh REPOSITORY ORRERY: one training run over two processes that stand for two hosts. It trains to the bits of
# a run on one host, whoever starts it; what does not fit is named; a rank or a launcher that dies or hangs ends both.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
source "$repository/tests/cli/jobs.sh"
fit_plan layout '"ep": 2, "pp": 2'  # neighbours share experts; stages are on different hosts
fit_plan wide '"ep": 4, "zero_dense": 1' # everything goes over the network

# both PLAN ARGS: two processes by hand; leaves $code0, $code1 and their output in 0.json, 1.json, 0.err, 1.err.
both() {
  local plan=$1 place
  place=127.0.0.1:$(free_port)
  shift
  "$orrery" execute "$plan" --json --nodes 2 --node-rank 1 --rendezvous "$place" "$@" >1.json 2>1.err &
  "$orrery" execute "$plan" --json --nodes 2 --node-rank 0 --rendezvous "$place" "$@" >0.json 2>0.err
  code0=$?
  wait $!
  code1=$?
}

# expect_good WHAT: both have ended well; only process 0 reports.
expect_good() {
  [[ $code0 == 0 && $code1 == 0 ]] || fail "exit codes of $1" "0 0" "$code0 $code1, $(cat 0.err 1.err)"
  [[ ! -s 1.json ]] || fail "report of process 1 of $1" "none" "$(<1.json)"
}

for plan in layout wide; do
  "$orrery" execute $plan.json --steps 3 --json >alone.json || fail "a run of $plan on one host" "exit code 0" "$?"
  both $plan.json --steps 3
  expect_good "$plan"
  difference=$(same_losses alone.json 0.json 2>&1) || fail "losses of $plan on two hosts" "those of one" "$difference"
done
grep -q '"2 processes with 2 ranks each' 0.json || fail "notes" "how many processes" "$(<0.json)"

# A trace of all ranks, and a checkpoint with which one host goes on.
both layout.json --steps 2 --trace hosts.trace --checkpoint saved
expect_good "a run that saves"
python3 - <<'P' || fail "trace" "spans of four ranks on one clock" "$(head -c 300 hosts.trace)"
import json
lines = [json.loads(line) for line in open("hosts.trace")]
header = lines[0]["header"]
spans = [line["span"] for line in lines if "span" in line]
ranks = {span[1] for span in spans}
# Steps begin together, but for the error of the clocks.
starts = min(span[4] for span in spans)
raise SystemExit(0 if ranks == {0, 1, 2, 3} and 0 < header["clock_error"] < 0.1 and starts > -0.1 else 1)
P
"$orrery" execute layout.json --steps 4 --json >alone.json
"$orrery" execute layout.json --steps 4 --checkpoint saved --resume --json >resumed.json || fail "a resume" 0 "$?"
python3 - <<'P' || fail "losses after a resume on one host" "those of an undisturbed run" "others"
import json
steps = lambda path: {r["step"]: r["loss"] for r in json.load(open(path))["steps"]}
alone, resumed = steps("alone.json"), steps("resumed.json")
raise SystemExit(0 if len(resumed) == 2 and all(alone[s] == resumed[s] for s in resumed) else 1)
P

# Hosts of different size: two ranks and three, whose groups lie on both.
sed 's/"devices_per_node": 4/"devices_per_node": 5/' cluster.json >five.json
fit_plan unequal '"zero_dense": 1, "zero_expert": 1' five.json 5
"$orrery" execute unequal.json --steps 3 --json >alone.json || fail "a run of five ranks on one host" "exit code 0" "$?"
place=127.0.0.1:$(free_port)
job=(execute unequal.json --json --steps 3 --nodes 2 --rendezvous "$place")
"$orrery" "${job[@]}" --node-rank 1 --local-ranks 3 >1.json 2>1.err &
"$orrery" "${job[@]}" --node-rank 0 --local-ranks 2 >0.json 2>0.err
code0=$?
wait $!
code1=$?
expect_good "unequal hosts"
difference=$(same_losses alone.json 0.json 2>&1) || fail "losses on hosts of 2 and 3 ranks" "those of one" "$difference"
grep -q '"2 processes with 2 + 3 ranks' 0.json || fail "notes" "how many ranks each" "$(<0.json)"

# calibrate over two processes of two ranks: a group within a process, over shared memory, and one between both, over TCP,
# have points of their own, also where they are of one size.
cat >tiny.json <<'J'
{"model_type": "qwen3_moe", "hidden_act": "silu", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64,
 "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48, "moe_intermediate_size": 24,
 "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": true, "mlp_only_layers": [0],
 "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false}
J
job=(calibrate tiny.json --ranks 4 --seconds 1 --sequence 16 --global-batch 4 --nodes 2
  --rendezvous "127.0.0.1:$(free_port)" --out measured)
"$orrery" "${job[@]}" --node-rank 1 >1.json 2>1.err &
"$orrery" "${job[@]}" --node-rank 0 >0.json 2>0.err
code0=$?
wait $!
code1=$?
expect_good "calibrate"
difference=$(python3 - measured/calibration.json 2>&1 <<'P'
import json, sys
points = json.load(open(sys.argv[1]))["collectives"]
groups = {(point["path"], point["nodes"], point["ranks"]) for point in points if point["op"] == "all_reduce"}
raise SystemExit(0 if groups == {("node", 1, 2), ("rail", 2, 2), ("rail", 2, 4)} else str(groups))
P
) || fail "collectives of two processes" "2 ranks over shared memory; 2 and 4 over TCP" "$difference"

# As torchrun and mpirun start it: one process for each rank.
"$orrery" execute layout.json --steps 3 --json >alone.json
port=$(free_port)
for rank in 3 2 1 0; do
  RANK=$rank WORLD_SIZE=4 LOCAL_RANK=$rank MASTER_ADDR=127.0.0.1 MASTER_PORT=$port \
    "$orrery" execute layout.json --steps 3 --json >torchrun.$rank 2>torchrun.err.$rank &
done
wait $! || fail "process 0 of torchrun" "exit code 0" "$(<torchrun.err.0)"
wait
difference=$(same_losses alone.json torchrun.0 2>&1) || fail "losses under torchrun" "those of one host" "$difference"
for rank in 1 0; do
  OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_SIZE=2 "$orrery" execute layout.json --steps 3 --json \
    --rendezvous "127.0.0.1:$(($port + 1))" >mpirun.$rank 2>mpirun.err.$rank &
done
wait $! || fail "process 0 of mpirun" "exit code 0" "$(<mpirun.err.0)"
wait
difference=$(same_losses alone.json mpirun.0 2>&1) || fail "losses under mpirun" "those of one host" "$difference"

# What cannot start says why, at once.
execute=(execute layout.json --steps 3)
expect_error 2 "--nodes 2: expected --node-rank from 0 to 1 and --rendezvous HOST:PORT" "${execute[@]}" --nodes 2
expect_error 2 "--rendezvous: expected HOST:PORT, got 'there'" "${execute[@]}" --nodes 2 --rendezvous there
expect_error 2 "expected a number of processes that divides the 4 ranks of the plan, got 3
  hint: where they start different numbers of ranks, each says its own: --local-ranks N" \
  "${execute[@]}" --nodes 3 --node-rank 0 --rendezvous 127.0.0.1:1
RANK=4 WORLD_SIZE=4 expect_error 2 "RANK: expected less than the 4 processes of WORLD_SIZE, got 4
  hint: WORLD_SIZE counts processes, not hosts" "${execute[@]}"
ORRERY_JOB_TOKEN='' expect_error 2 "ORRERY_JOB_TOKEN: expected the secret of the job, got nothing
  hint: any text that only this job knows, the same on every host: openssl rand -hex 16" \
  "${execute[@]}" --nodes 2 --node-rank 0 --rendezvous 127.0.0.1:1
place=127.0.0.1:$(free_port)
expect_error 4 "orrery: of 2 processes these did not come to $place within 0.5 s: 1" \
  "${execute[@]}" --nodes 2 --node-rank 0 --rendezvous "$place" --time-out 0.5
expect_error 4 "orrery: nobody answers at $place within 0.5 s: process 0 of the job waits there" \
  "${execute[@]}" --nodes 2 --node-rank 1 --rendezvous "$place" --time-out 0.5

"$orrery" "${execute[@]}" --seed 7 --nodes 2 --node-rank 1 --rendezvous "$place" >out 2>1.err &
expect_error 2 "process 1 on $(hostname): expected seed 1 of process 0, got 7" \
  "${execute[@]}" --nodes 2 --node-rank 0 --rendezvous "$place"
wait $!
[[ $? == 2 && $(wc -l <1.err) == 1 ]] || fail "the process with another seed" "exit code 2, one line" "$?, $(<1.err)"
"$orrery" execute wide.json --steps 3 --nodes 2 --node-rank 1 --rendezvous "$place" >out 2>1.err &
run "${execute[@]}" --nodes 2 --node-rank 0 --rendezvous "$place"
wait $!
[[ $code == 2 && $err =~ ^"process 1 on $(hostname): expected program "[0-9a-f]+" (layout.json) of process 0, got "[0-9a-f]+" (wide.json)"$ ]] ||
  fail "processes with different plans" "both hashes and plans" "$code, $err"
# What is wrong on one host alone ends the others at once.
before=$SECONDS
"$orrery" "${execute[@]}" --corpus none.txt --nodes 2 --node-rank 1 --rendezvous "$place" >out 2>1.err &
expect_error 2 "process 1 on $(hostname): none.txt: expected a readable file, got: No such file or directory" \
  "${execute[@]}" --nodes 2 --node-rank 0 --rendezvous "$place"
wait $!
[[ $? == 2 && $(<1.err) == "none.txt: expected a readable file, got: No such file or directory" ]] ||
  fail "the process without a corpus" "exit code 2 and its reason" "$?, $(<1.err)"
((SECONDS - before < 15)) || fail "the end of a job whose process 1 has no corpus" "within 15 s" "$((SECONDS - before)) s"
"$orrery" "${execute[@]}" --nodes 4 --node-rank 1 --rendezvous "$place" >out 2>1.err &
expect_error 2 "process 1 believes in 4 processes, process 0 in 2" \
  "${execute[@]}" --nodes 2 --node-rank 0 --rendezvous "$place"
wait $!
[[ $? == 2 ]] || fail "the process with another world" "exit code 2" "$?, $(<1.err)"
ORRERY_JOB_TOKEN=another "$orrery" "${execute[@]}" --nodes 2 --node-rank 1 --rendezvous "$place" >out 2>1.err &
expect_error 4 "orrery: of 2 processes these did not come to $place within 2 s: 1" \
  "${execute[@]}" --nodes 2 --node-rank 0 --rendezvous "$place" --time-out 2
wait $!
[[ $? == 2 && $(<1.err) == *"it has another token"* ]] || fail "a process of another job" "to be refused" "$?, $(<1.err)"

# start: a run that would take hours; leaves the launchers in $zero and $one, their ranks in $ranks0 and $ranks1.
start() {
  place=127.0.0.1:$(free_port)
  local job=(execute layout.json --steps 1000000 --nodes 2 --rendezvous "$place" --time-out 3)
  "$orrery" "${job[@]}" --node-rank 0 >out 2>0.err &
  zero=$!
  "$orrery" "${job[@]}" --node-rank 1 >out 2>1.err &
  one=$!
  for _ in $(seq 300); do
    ranks0=$(children "$zero")
    ranks1=$(children "$one")
    [[ $(wc -w <<<"$ranks0 $ranks1") == 4 ]] && break
    sleep 0.1
  done
  [[ $(wc -w <<<"$ranks0 $ranks1") == 4 ]] || fail "ranks of both hosts" "4 processes" "$ranks0, $ranks1, $(cat ?.err)"
  sleep 1.5
}

# expect_end WHAT CODE0 CODE1 PATTERN0: within the time-out and a little, with nobody left.
expect_end() {
  local before=$SECONDS
  wait "$zero"
  code0=$?
  wait "$one"
  code1=$?
  [[ $code0 == "$2" && $code1 == "$3" ]] || fail "exit codes after $1" "$2 $3" "$code0 $code1, $(cat 0.err 1.err)"
  ((SECONDS - before < 15)) || fail "the end after $1" "within 15 s" "$((SECONDS - before)) s"
  gone $ranks0 $ranks1
  [[ -z $4 ]] || grep -qE "$4" 0.err || fail "message after $1" "$4" "$(<0.err)"
}
here="on $(hostname) \(ranks 2 to 3\): "

start
kill -KILL "${ranks1%%[[:space:]]*}"
expect_end "a killed rank of the second host" 4 4 "^orrery: rank [23](, [^ ]+)?: ${here}killed by signal 9 \(Killed\)$"
grep -qE '^orrery: rank [23](, [^ ]+)?: killed by signal 9 \(Killed\)$' 1.err || fail "message there" "signal 9" "$(<1.err)"

start
kill -KILL "$one"
expect_end "a killed launcher of the second host" 4 137 "^orrery: rank 2(, [^ ]+)?: ${here}its launcher is gone$"

start
kill -KILL "$zero"
expect_end "a killed launcher of the first host" 137 4 ""
grep -qE "^orrery: rank 0(, [^ ]+)?: on $(hostname) \(ranks 0 to 1\): process 0 of the job at $place is gone$" 1.err ||
  fail "message of process 1" "process 0 is gone" "$(<1.err)"

# A rank that does not go on: whoever waits for it, on whichever host, says for whom and what that rank did last.
start
kill -STOP "${ranks1%%[[:space:]]*}"
expect_end "a rank that hangs" 4 4 "rank [0-3], [^ ]+: .*: rank [23] did not come within 3 s; its last op was "

finish
