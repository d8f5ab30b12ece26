#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# checkpoint_test.sh REPOSITORY ORRERY: a checkpoint that cannot be used is named once, with the right exit code.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas
cp "$data/cluster/good-one-cpu-node.json" cluster.json
printf '{"schema": "strategy/1", "ep": 2, "precision": "f32"}\n' >ep2.json
printf '{"schema": "strategy/1", "pp": 2, "precision": "f32"}\n' >pp2.json
for strategy in ep2 pp2; do
  run fit moe-tiny-cpu cluster.json $strategy.json --sequence 32 --global-batch 4 \
    --calibration "$data/calibration/good-cpu.json" --out $strategy-plan.json
  [[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"
done
train=(execute ep2-plan.json --steps 1 --checkpoint good)
expect_line 'memory of the fullest rank' "${train[@]}"
step=step_00000001
shard=$step/rank_00001.safetensors

expect_error 2 "good: expected a folder without checkpoints, got one with $step
  hint: --resume goes on from it" "${train[@]}"
expect_error 2 "bad: expected a folder with checkpoints, got none" \
  execute ep2-plan.json --steps 2 --checkpoint bad --resume
# Also when there is nothing left to train.
expect_error 2 "good/$step: expected seed 2 of this run, got 1" execute ep2-plan.json --steps 1 --checkpoint good --resume --seed 2
# What is refused is left as it is, the folder of a save that was not finished included.
mkdir good/step_00000009
expect_error 2 "good/$step: expected seed 2 of this run, got 1" execute ep2-plan.json --steps 2 --checkpoint good --resume --seed 2
[[ -d good/step_00000009 ]] || fail "an unfinished save of another run" "to be left alone" "removed"

# resume_after CODE MESSAGE CHANGE...: of a copy of the checkpoint that CHANGE has been at.
resume_after() {
  local wanted_code=$1 message=$2
  shift 2
  rm -rf bad
  cp -r good bad
  "$@"
  expect_error "$wanted_code" "$message" execute ep2-plan.json --steps 2 --checkpoint bad --resume
}
flip() { printf '\xff' | dd of=bad/$shard bs=1 seek=$(($(stat -c %s bad/$shard) - 2)) conv=notrunc status=none; }
bytes=$(stat -c %s good/$shard)
resume_after 2 "bad/$shard: expected $bytes bytes, got 1000" truncate -s 1000 bad/$shard
resume_after 2 "bad/$shard: expected a shard, got: No such file or directory" rm bad/$shard
resume_after 2 "bad/$step/manifest.json: is corrupted: its checksum differs from that in DONE" \
  sed -i 's/"step": 1/"step": 2/' bad/$step/manifest.json
resume_after 2 "bad/step_00000007/manifest.json: /step: expected the step of the folder's name, step_00000007, got 1" \
  mv bad/$step bad/step_00000007
# other_tensor: a manifest that was saved so.
other_tensor() {
  python3 - bad/$step <<'P'
import sys
folder = sys.argv[1]
manifest = open(folder + "/manifest.json").read().replace('"head"', '"tail"')
checksum = 0xcbf29ce484222325
for byte in manifest.encode():
    checksum = (checksum ^ byte) * 0x100000001b3 % 2**64
open(folder + "/manifest.json", "w").write(manifest)
open(folder + "/DONE", "w").write(f"{checksum:016x}\n")
P
}
resume_after 2 "bad/$step: missing tensor 'head' of 256 x 256
bad/$step: unknown tensor 'tail': the model has none of that name" \
  other_tensor
rm -rf bad && cp -r good bad && flip
run execute ep2-plan.json --steps 2 --checkpoint bad --resume
[[ $code == 4 && $(wc -l <<<"$err") == 1 && $err =~ $shard:\ tensor\ \'.*\'\ is\ corrupted ]] ||
  fail "a flipped bit" "exit code 4, one line that names the shard" "$code, $err"

# Another plan goes on; what is through already is said and is no error. Of other folders than ours, none is removed.
rm -rf bad
mkdir good/step_notes good/step_500
expect_line 'memory of the fullest rank' execute pp2-plan.json --steps 2 --checkpoint good --resume
[[ $(ls good | xargs) == "$step step_00000002 step_500 step_notes" ]] ||
  fail "folders after a resume" "two checkpoints and those of others" "$(ls good | xargs)"
run execute ep2-plan.json --steps 2 --checkpoint good --resume
[[ $code == 0 && $err == *"has 2 steps already"* ]] || fail "a run that is through" "exit code 0 and a note" "$code, $err"

# Two runs in one folder: the second one is refused, and the save of the first is left alone. A run that was killed leaves
# no lock.
"$orrery" execute ep2-plan.json --steps 1000000 --checkpoint shared --every 1000000 >shared.out 2>shared.err &
first=$!
for _ in $(seq 300); do
  [[ -s shared/.lock ]] && break
  sleep 0.02
done
mkdir shared/step_00000007  # as a save under way
expect_error 2 "shared: expected a folder that no other run saves in, got that of process $first on $(hostname)
  hint: --checkpoint with another folder, or when that run has ended" \
  execute ep2-plan.json --steps 2 --checkpoint shared --resume
[[ -d shared/step_00000007 ]] || fail "the save of the first run" "to be left alone" "removed"
kill -KILL "$first"
wait "$first" 2>/dev/null
expect_line 'memory of the fullest rank' execute ep2-plan.json --steps 2 --checkpoint shared --resume
[[ $(ls shared | xargs) == step_00000002 ]] || fail "checkpoints of the third run" step_00000002 "$(ls shared | xargs)"

# Metrics for Prometheus: written after each step, and counters go on where a run is resumed.
tokens() { grep -E '^orrery_tokens_total [0-9]+$' run.prom | cut -d' ' -f2; }
mkdir counted
run execute ep2-plan.json --steps 2 --checkpoint counted --resume --metrics-textfile run.prom
[[ $code == 0 && $(tokens) == 256 ]] || fail "tokens of two steps" 256 "$code, $(tokens)"
run execute ep2-plan.json --steps 3 --checkpoint counted --resume --metrics-textfile run.prom
[[ $code == 0 && $(tokens) == 384 ]] || fail "tokens of three steps" 384 "$code, $(tokens)"
grep -qE '^orrery_comm_bytes_total\{dim="ep",op="moe.dispatch"\} [0-9]+$' run.prom || fail "bytes" "a line of ep" "$(<run.prom)"
# Choices of experts that one plan records and another takes.
run execute ep2-plan.json --steps 2 --record-routing routing
[[ $code == 0 && $(ls routing | xargs) == "step_00000000.safetensors step_00000001.safetensors" ]] ||
  fail "routing" "a file for each step" "$code, $(ls routing | xargs)"
run execute pp2-plan.json --steps 2 --replay-routing routing
[[ $code == 0 ]] || fail "exit code of a replay" 0 "$code, $err"
expect_error 2 "routing/step_00000002.safetensors: expected a readable file, got: No such file or directory" \
  execute pp2-plan.json --steps 3 --replay-routing routing
echo other >run.prom
expect_error 2 "run.prom:1: expected a metric as orrery execute writes it, got: other" \
  execute ep2-plan.json --steps 4 --checkpoint counted --resume --metrics-textfile run.prom
finish
