#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# hugging_face_test.sh REPOSITORY ORRERY: from a Hugging Face folder into training, and back into one.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas
folder=$repository/tests/data/hugging_face/deepseek_v3
cp "$data/cluster/good-one-cpu-node.json" cluster.json
printf '{"schema": "strategy/1", "ep": 2, "precision": "f32"}\n' >ep2.json
printf '{"schema": "strategy/1", "pp": 2, "precision": "f32"}\n' >pp2.json
for strategy in ep2 pp2; do
  run fit "$folder/config.json" cluster.json $strategy.json --sequence 16 --global-batch 4 \
    --calibration "$data/calibration/good-cpu.json" --out $strategy-plan.json
  [[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"
done

# loss ARGS: of the first step.
loss() {
  run execute "$@" --json
  [[ $code == 0 ]] || fail "exit code of execute $*" 0 "$code, $err"
  python3 -c 'import json, sys; print("%.5f" % json.load(sys.stdin)["steps"][0]["loss"])' <<<"$out"
}
first=$(loss ep2-plan.json --steps 1 --init-from "$folder" --checkpoint saved)
[[ $(loss pp2-plan.json --steps 1 --init-from "$folder") == "$first" ]] || fail "loss under another plan" "$first" "another"
[[ $(loss pp2-plan.json --steps 1) != "$first" ]] || fail "loss of random weights" "another than $first" "the same"

# What training has left comes back as a folder, from which a run goes on.
expect_line '^  steps trained +1$' export ep2-plan.json --to huggingface --checkpoint saved --out trained --type f32
[[ $(ls trained | xargs) == "config.json model.safetensors" ]] || fail "files" "two" "$(ls trained | xargs)"
again=$(loss pp2-plan.json --steps 1 --init-from trained)
[[ $again != "$first" ]] || fail "loss of trained weights" "another than $first" "$again"
mkdir new
# --resume goes on from a checkpoint, if there is one, and begins with the weights of the folder, if there is none.
[[ $(loss ep2-plan.json --steps 1 --init-from trained --checkpoint new --resume) == "$again" ]] || fail "a run that has just begun" "$again" "another"
run execute ep2-plan.json --steps 1 --init-from none --checkpoint new --resume
[[ $code == 0 && $err == *"has 1 steps already"* ]] || fail "a run that is through" "no look at the folder" "$code, $err"

expect_error 2 "trained: expected a new or an empty folder" \
  export ep2-plan.json --to huggingface --checkpoint saved --out trained
expect_error 2 "--to huggingface: expected --checkpoint DIR, got none" export ep2-plan.json --to huggingface --out x
expect_error 2 "--to huggingface: expected --out FOLDER, got none" \
  export ep2-plan.json --to huggingface --checkpoint saved
mkdir empty
expect_error 2 "empty: expected a complete checkpoint, got none" \
  export ep2-plan.json --to huggingface --checkpoint empty --out x
truncate -s -1 trained/model.safetensors
bytes=$(stat -c %s trained/model.safetensors)
expect_error 2 "trained/model.safetensors: the header describes $((bytes + 1)) bytes, the file has $bytes" \
  execute ep2-plan.json --steps 1 --init-from trained
finish
