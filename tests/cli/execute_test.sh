#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# execute_test.sh REPOSITORY ORRERY: what execute says before it starts a rank, and what it writes of steps and memory.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas
cores=$(nproc)

# fit_plan NAME MODEL DEVICES SEQUENCE STRATEGY: on one node of so many CPU devices with more memory than there is.
fit_plan() {
  sed -E "s/\"devices_per_node\": [0-9]+/\"devices_per_node\": $3/; s/3\.9 GiB/99999 GiB/" \
    "$data/cluster/good-one-cpu-node.json" >cluster.json
  printf '{"schema": "strategy/1", "precision": "f32", %s}\n' "$5" >strategy.json
  run fit "$2" cluster.json strategy.json --sequence "$4" --global-batch 8 --calibration "$data/calibration/good-cpu.json" \
    --out "$1.json"
  [[ $code == 0 ]] || fail "exit code of fit of $1" 0 "$code, $err"
}

# A plan that this machine has no memory for is refused before a rank is started.
fit_plan large mixtral-8x7b 4 64 '"ep": 4'
run execute large.json --steps 1
[[ $code == 2 && -z $out && $(wc -l <<<"$err") == 2 ]] || fail "a plan that does not fit" "exit code 2, two lines" "$code, $err"
grep -qE '^the 4 ranks here would need [0-9.]+ GiB of memory, and this machine has [0-9.]+ [A-Za-z]+ left$' <<<"$err" ||
  fail "a plan that does not fit" "what it needs and what there is" "$err"

# What CPU ranks cannot run is refused before anything is touched: the files of an earlier run stay as they are.
fit_plan untouched moe-tiny-cpu 2 64 '"ep": 2'
python3 - <<'P'
import json
plan = json.load(open("untouched.json"))
plan["workload"]["sequences"] = {"schema": "sequence/1", "kind": "packed", "documents": [32, 32]}
json.dump(plan, open("packed.json", "w"))
plan = json.load(open("untouched.json"))
plan["strategy"]["cuda_graphs"] = True
json.dump(plan, open("graphs.json", "w"))
P
printf 'of an earlier run\n' | tee run.prom >steps.jsonl
outputs=(--metrics-textfile run.prom --metrics-jsonl steps.jsonl --record-routing routing --checkpoint refused)
expect_error 2 "packed.json: expected sequences of one document each, got packed from 2 documents: the kernels attend over whole sequences" \
  execute packed.json --steps 1 "${outputs[@]}"
expect_error 2 "graphs.json: the CPU executor has no CUDA graphs" execute graphs.json --steps 1 "${outputs[@]}"
fit_plan small moe-tiny-cpu 2 64 '"ep": 2'
expect_error 2 "none.json: expected a readable file, got: No such file or directory" \
  execute small.json --steps 1 "${outputs[@]}" --elastic --calibration none.json
[[ $(cat run.prom steps.jsonl | uniq -c | xargs) == "2 of an earlier run" ]] ||
  fail "files of an earlier run after a plan that is refused" "untouched" "$(cat run.prom steps.jsonl)"

# A corpus that is too short is named once, by nobody but the launcher.
fit_plan small moe-tiny-cpu 2 64 '"ep": 2'
printf 'too short' >short.txt
expect_error 2 "short.txt: expected at least 65 bytes (one sequence and its last label), got 9" \
  execute small.json --steps 1 --corpus short.txt
expect_error 2 "none.txt: expected a readable file, got: No such file or directory" execute small.json --steps 1 --corpus none.txt

# So is one that is no file: a pipe would be waited for.
mkfifo pipe
expect_error 2 "pipe: expected a file that every rank can read, got a pipe" execute small.json --steps 1 --corpus pipe
expect_error 2 "/dev: expected a file that every rank can read, got a folder" execute small.json --steps 1 --corpus /dev
expect_error 2 "/dev/zero: expected a file that every rank can read, got a device" \
  execute small.json --steps 1 --corpus /dev/zero

# What could not be written in the end is not begun: within seconds, not after a million steps.
mkdir folder
untrained=(execute small.json --steps 1000000)
expect_error 4 "orrery: cannot write none/cpu.trace: No such file or directory" "${untrained[@]}" --trace none/cpu.trace
expect_error 4 "orrery: cannot write folder: Is a directory" "${untrained[@]}" --perfetto folder
expect_error 4 "orrery: cannot make short.txt/saved: Not a directory" "${untrained[@]}" --checkpoint short.txt/saved
expect_error 4 "orrery: cannot make /proc/saved: No such file or directory" \
  "${untrained[@]}" --checkpoint /proc/saved

# Ranks without a core of their own are told of.
fit_plan shared moe-tiny-cpu $((2 * cores)) 64 '"ep": 1'
run execute shared.json --steps 1
[[ $code == 0 ]] || fail "exit code of more ranks than cores" 0 "$code, $err"
grep -q "^orrery: execute: $((2 * cores)) ranks on $cores cores\?: they take turns" <<<"$err" ||
  fail "more ranks than cores" "a warning" "$err"

# A line of JSON when a step ends; a resumed run goes on behind the steps of its checkpoint.
run execute small.json --steps 4 --json --metrics-jsonl steps.jsonl --checkpoint saved --every 2
[[ $code == 0 ]] || fail "exit code with --metrics-jsonl" 0 "$code, $err"
! grep -q 'take turns' <<<"$err" || ((cores < 2)) || fail "two ranks on $cores cores" "no warning" "$err"
# numbers KEY FILE: the values of a key, line by line.
numbers() { grep -oE "\"$1\": ?[^,}]*" "$2" | sed 's/.*: \?//' | xargs; }
[[ $(numbers step steps.jsonl) == "0 1 2 3" ]] || fail "lines of steps" "0 1 2 3" "$(<steps.jsonl)"
printf '%s\n' "$out" >report.json
for key in loss grad_norm; do
  [[ $(numbers $key steps.jsonl) == $(numbers $key report.json) ]] ||
    fail "$key of lines" "$(numbers $key report.json)" "$(numbers $key steps.jsonl)"
done
[[ $(numbers tokens steps.jsonl) == "512 512 512 512" ]] || fail "tokens of lines" "512 each" "$(<steps.jsonl)"
grep -q '"ep":{[^}]*"moe.dispatch":[1-9]' steps.jsonl || fail "bytes of lines" "moe.dispatch" "$(<steps.jsonl)"
head -n 2 steps.jsonl >first.jsonl
rm -r saved/step_00000004
run execute small.json --steps 3 --resume --metrics-jsonl steps.jsonl --checkpoint saved --every 2
[[ $code == 0 ]] || fail "exit code of a resume with --metrics-jsonl" 0 "$code, $err"
[[ $(head -n 2 steps.jsonl) == $(<first.jsonl) && $(numbers step steps.jsonl) == "0 1 2" ]] ||
  fail "lines after a resume" "those of steps 0 and 1, and 2" "$(<steps.jsonl)"
run execute small.json --steps 1 --metrics-jsonl /dev/full/steps.jsonl
[[ $code == 4 ]] || fail "lines that cannot be written" "exit code 4" "$code, $err"

# Memory of every rank by cause, in the trace and in the report, and what its process had resident, which is more.
run execute small.json --steps 1 --trace cpu.trace --json
[[ $code == 0 ]] || fail "exit code with --trace" 0 "$code, $err"
for rank in 0 1; do
  record=$(grep "^{\"memory\":{\"rank\":$rank,\"step\":0," cpu.trace)
  kept=0
  for key in weights gradients optimizer moe_in logits; do
    [[ $record =~ \"$key\":([0-9]+) ]] || continue
    kept=$((kept + BASH_REMATCH[1]))
  done
  ((kept > 100000000)) || fail "memory of rank $rank" "100 MB of states by cause" "$record"
  [[ $record =~ \"resident\":([0-9]+) ]] && ((BASH_REMATCH[1] > kept)) ||
    fail "resident memory of rank $rank" "more than $kept bytes" "$record"
done
[[ $(grep -c '"largest_tensors": "[a-z]' <<<"$out") == 2 ]] || fail "memory in the report" "a row for each rank" "$out"

finish
