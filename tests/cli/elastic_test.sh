#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# elastic_test.sh REPOSITORY ORRERY: execute --elastic while ranks are killed, stopped and go wrong. Pipelines change no
# bit of a result (docs/design/equality.md), so under them the losses of a run that lost ranks are those of one that did
# not. Whatever happens, no process, no shared memory and no unfinished checkpoint is left.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
source "$repository/tests/cli/jobs.sh"
sed -i 's/"memory_bandwidth": null/"memory_bandwidth": {"value": "10 GB\/s", "source": "a guess"}/
        s/"per_device": null/"per_device": "10 GB\/s"/; s/"latency": null/"latency": "1 us"/' cluster.json
sed 's/"devices_per_node": 4/"devices_per_node": 2/' cluster.json >cluster2.json
cat >tiny.json <<'J'
{"model_type": "mixtral", "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
 "intermediate_size": 128, "vocab_size": 64, "num_local_experts": 4, "num_experts_per_tok": 2,
 "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "router_aux_loss_coef": 0.01,
 "tie_word_embeddings": false}
J
cp "$data/calibration/good-cpu.json" calibration.json
# small_plan NAME CLUSTER DEGREES
small_plan() {
  printf '{"schema": "strategy/1", "precision": "f32", %s}\n' "$3" >"$1.strategy.json"
  run fit tiny.json "$2" "$1.strategy.json" --sequence 64 --global-batch 8 --calibration calibration.json --out "$1.json"
  [[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"
}
small_plan pp4 cluster.json '"pp": 4'
small_plan pp2 cluster2.json '"pp": 2'
small_plan ep2 cluster2.json '"ep": 2'
sed 's/"devices_per_node": 4/"devices_per_node": 1/' cluster.json >cluster1.json
small_plan alone cluster1.json '"micro_batch": 2'
segments=$(find /dev/shm -maxdepth 1 -name '*orrery*' | sort)

# start ARGS: execute --elastic in the background; leaves its process in $run.
start() {
  "$orrery" execute "$@" --elastic --json >out.json 2>err &
  run=$!
  ranks=()
}
# await_ranks COUNT: leaves the ranks of $run in $ranks, the last started one last. After a death those that are left of
# the ranks before are about to be stopped and do not count: only a new set of ranks does.
await_ranks() {
  local before=" ${ranks[*]} " now rank old
  for _ in $(seq 400); do
    now=($(children "$run" | sort -n)) old=
    for rank in "${now[@]}"; do [[ $before != *" $rank "* ]] || old=1; done
    if [[ ${#now[@]} == "$1" && -z $old ]]; then
      ranks=("${now[@]}")
      return
    fi
    sleep 0.02
  done
  fail "ranks" "$1" "${#now[@]}, $(<err)"
}
# await_file PATH...: until one of these patterns names a file, or the run has ended.
await_file() {
  for _ in $(seq 1000); do
    compgen -G "$1" >/dev/null && return
    [[ -e /proc/$run ]] || break
    sleep 0.01
  done
  fail "$1" "to appear" "$(<err)"
}
# expect_end CODE
expect_end() {
  wait "$run"
  code=$?
  [[ $code == "$1" ]] || fail "exit code" "$1" "$code, $(<err)"
  [[ $code == 0 || $code == 3 || ! -s out.json ]] || fail "output of a run that failed" "nothing" "$(<out.json)"
  gone "${ranks[@]}"
  [[ -z $(children "$run") ]] || fail "ranks" "none" "$(children "$run")"
  [[ $(find /dev/shm -maxdepth 1 -name '*orrery*' | sort) == "$segments" ]] || fail "shared memory" "as before" "more"
  local unfinished
  [[ $code != 0 || ! -d saved ]] ||
    unfinished=$(find saved -mindepth 1 -maxdepth 1 -type d ! -exec test -e '{}/DONE' ';' -print)
  [[ -z ${unfinished:-} ]] || fail "checkpoints that are not DONE" "none" "$unfinished"
}
# expect_said PATTERN: a line on stderr.
expect_said() { grep -qE "$1" err || fail "what is said" "$1" "$(grep -v saved err)"; }
# expect_value KEYS VALUE: of the report.
expect_value() {
  local got
  got=$(python3 -c "import json; print(json.load(open('out.json'))$1)" 2>&1)
  [[ $got == "$2" ]] || fail "$1" "$2" "$got"
}

# Two ranks die, one after the other: three stages, then two. The metrics go on, and the plan is one that others read.
"$orrery" execute pp4.json --steps 20 --json >whole4.json 2>err || fail "a run without a failure" 0 "$(<err)"
start pp4.json --steps 20 --checkpoint saved --every 2 --where pp=2,3 --metrics-textfile run.prom
await_ranks 4
await_file saved/step_00000004/DONE
kill -KILL "${ranks[1]}"
await_file saved/plan.elastic.json
await_ranks 3
await_file saved/step_00000010/DONE
kill -KILL "${ranks[0]}"
expect_end 0
expect_said '^orrery: execute: rank 1, .*: killed by signal 9 \(Killed\)$'
expect_said '^orrery: execute: restart 1 of at most 3: lost device 1, 3 left; planned anew in .* for 3 of them \(pp 3 .*\); goes on from saved/step_000000[01][0-9]$'
expect_said '^orrery: execute: restart 2 of at most 3: lost device 0, 2 left; planned anew in .* for 2 of them \(pp 2 .*\); goes on from saved/step_000000[12][0-9]$'
expect_said '^orrery: execute: restart 2: loaded in .*, the first step took .* more$'
same_losses whole4.json out.json 2>difference || fail "losses after two deaths" "those of a run without" "$(<difference)"
expect_value "['num_restarts']" 2
expect_value "['devices']" 2
expect_value "['restarts'][1]['lost']" 0
expect_value "['restarts'][1]['devices']" 2
grep -qx 'orrery_restarts_total 2' run.prom || fail "metrics" "2 restarts" "$(<run.prom)"
expect_line '^  devices +2$' estimate saved/plan.elastic.json --calibration calibration.json
# By hand it goes on from there as well.
run execute saved/plan.elastic.json --steps 21 --checkpoint saved --resume
[[ $code == 0 ]] || fail "exit code of a resume under the last plan" 0 "$code, $err"

# A rank dies while a checkpoint is being written: what is not DONE counts for nothing. One rank is left, with more
# threads.
rm -rf saved
"$orrery" execute pp2.json --steps 8 --json >whole2.json 2>err || fail "a run without a failure" 0 "$(<err)"
start pp2.json --steps 8 --checkpoint saved --every 1
await_ranks 2
await_file saved/step_00000003/DONE
for _ in $(seq 2000); do
  newest=$(ls -d saved/step_* | tail -1)
  [[ -e $newest/DONE ]] || break
done
kill -KILL "${ranks[1]}"
expect_end 0
expect_said 'lost device 1, 1 left; planned anew in .* for 1 of them'
same_losses whole2.json out.json 2>difference || fail "losses after a death in a save" "those of a run without" "$(<difference)"

# Another number of data-parallel ranks: the same losses with --reproducible, and other bits without.
rm -rf saved
"$orrery" execute ep2.json --steps 20 --reproducible --json >whole.json 2>err || fail "a run without a failure" 0 "$(<err)"
restart_on_one_rank() { # FLAGS
  start ep2.json --steps 20 --checkpoint saved --every 2 "$@"
  await_ranks 2
  await_file saved/step_00000004/DONE
  kill -KILL "${ranks[1]}"
  expect_end 0
  expect_said 'lost device 1, 1 left; planned anew in .* for 1 of them .*; goes on from saved/step_0000'
}
restart_on_one_rank --reproducible
same_losses whole.json out.json 2>difference || fail "losses with --reproducible" "those of a run without" "$(<difference)"
"$orrery" execute alone.json --steps 20 --reproducible --json >out.json 2>err || fail "a run of one rank" 0 "$(<err)"
same_losses whole.json out.json 2>difference || fail "losses of one rank with --reproducible" "those of two" "$(<difference)"
grep -q '"reproducible_memory": ' out.json || fail "report" "reproducible_memory" "$(<out.json)"
rm -rf saved
"$orrery" execute ep2.json --steps 20 --json >whole.json 2>err || fail "a run without a failure" 0 "$(<err)"
restart_on_one_rank
! same_losses whole.json out.json 2>/dev/null || fail "losses in f32" "other bits behind the restart" "the same"

# A rank that is stopped is killed after the time-out; it is the lost one, whoever waited for whom. No checkpoint.
rm -rf saved
start pp4.json --steps 8 --time-out 1 --where pp=3
await_ranks 4
sleep 0.3
kill -STOP "${ranks[2]}"
expect_end 0
expect_said '^orrery: execute: rank [0-9], .*(did not come|no new op) within 1'
expect_said 'lost device 2, 3 left; .*; starts again from step 0, since there is no checkpoint$'
expect_value "['restarts'][0]['from_step']" 0
expect_value "['steps'][0]['step']" 0

# Nothing is left; no plan for what is left.
start ep2.json --steps 1000000
await_ranks 2
kill -KILL "${ranks[@]}"
expect_end 4
expect_said '^orrery: execute: gives up: no rank is left$'
start ep2.json --steps 1000000 --where ep=2
expect_said_at_start='--elastic: without one rank there will be no plan: no world of the 1 devices that are left'
await_ranks 2
kill -KILL "${ranks[0]}"
expect_end 3
grep -qF -- "$expect_said_at_start" err || fail "a warning" "$expect_said_at_start" "$(<err)"
expect_said '^orrery: execute: gives up: there is no plan for what is left$'
expect_said '^infeasible: no world of the 1 devices that are left'
start pp4.json --steps 1000000 --max-restarts 1
await_ranks 4
kill -KILL "${ranks[3]}"
await_ranks 3
kill -KILL "${ranks[0]}"
expect_end 4
expect_said '^orrery: execute: gives up: 1 restarts are all that --max-restarts allows$'

# A loss that is no number is nobody's death: once more under the same plan, and then it is final.
run execute ep2.json --steps 1 --checkpoint weights
run export ep2.json --to huggingface --checkpoint weights --out folder
[[ $code == 0 ]] || fail "exit code of export" 0 "$code, $err"
python3 - <<'P'
import glob, struct
for path in glob.glob("folder/*.safetensors"):
    data = open(path, "rb").read()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    open(path, "wb").write(data[:begin] + b"\xff" * (len(data) - begin))
P
start ep2.json --steps 5 --init-from folder
expect_end 4
expect_said 'expected a finite loss, got -?nan: training diverges'
expect_said '^orrery: execute: restart 1 of at most 3: no rank is lost; the same plan starts again from step 0'
expect_said '^orrery: execute: gives up: step 0 ends in an error again, and no rank was lost: another plan would not help$'

# Ctrl-C is no failure.
start ep2.json --steps 1000000
await_ranks 2
kill -INT "$run"
expect_end 130
! grep -q restart err || fail "after Ctrl-C" "no restart" "$(<err)"

# What is wrong is said before anything starts.
expect_error 2 "--elastic: expected all ranks on this host, got a job of several processes
  hint: after a failure: orrery plan --from PLAN --lost RANKS, then execute --resume under its plan" \
  execute ep2.json --elastic --nodes 2 --node-rank 0 --rendezvous 127.0.0.1:29500
run execute ep2.json --elastic --where speed=1
[[ $code == 2 && $err == *'condition "speed=1": expected one of tp, '* ]] || fail "a wrong condition" "exit code 2" "$code, $err"
run execute ep2.json --max-restarts 2
[[ $code == 2 && $err == *"--max-restarts requires --elastic"* ]] || fail "an option alone" "exit code 2" "$code, $err"
mv calibration.json elsewhere.json
run execute ep2.json --elastic
[[ $code == 2 && $err == *calibration.json* ]] || fail "without the calibration" "exit code 2, its name" "$code, $err"
finish
