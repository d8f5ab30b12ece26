#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kills_test.sh REPOSITORY ORRERY [COUNT [SEED]]: trains with checkpoints and kills, COUNT times (10), a rank or the
# launcher at a random moment, SIGKILL, SIGINT or SIGTERM; then resumes for one step. That step must be the one behind
# the last DONE, and no older than the DONE seen at the kill; no process and no file may be left over; and when the run
# is through, its losses must be those of a run that nobody disturbed, to the last bit.
repository=$1
orrery=$2
count=${3:-10}
RANDOM=${4:-1}
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas
printf '{"schema": "strategy/1", "ep": 2, "precision": "f32"}\n' >ep2.json
cp "$data/cluster/good-one-cpu-node.json" cluster.json
cat >tiny.json <<'J'
{"model_type": "mixtral", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
 "intermediate_size": 128, "vocab_size": 64, "num_local_experts": 4, "num_experts_per_tok": 2,
 "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "router_aux_loss_coef": 0.01,
 "tie_word_embeddings": false}
J
run fit tiny.json cluster.json ep2.json --sequence 64 --global-batch 8 \
  --calibration "$data/calibration/good-cpu.json" --out plan.json
[[ $code == 0 ]] || { fail "exit code of fit" 0 "$code, $err" && exit 1; }
export TMPDIR=$sandbox/tmp
mkdir -p "$TMPDIR" checkpoints

children() {
  grep -ls "^PPid:[[:space:]]$1\$" /proc/[0-9]*/status 2>/dev/null | sed 's|/proc/\([0-9]*\)/.*|\1|'
}
# last_done: the step of the last checkpoint that is complete; 0 if there is none.
last_done() {
  local done
  done=$(ls -d checkpoints/step_*/DONE 2>/dev/null | tail -1)
  done=${done#checkpoints/step_}
  echo $((10#0${done%/DONE}))
}
# gone PID: waits until the process has ended.
gone() {
  for _ in $(seq 200); do
    [[ -e /proc/$1 && $(cat "/proc/$1/stat" 2>/dev/null) != *") Z "* ]] || return 0
    sleep 0.05
  done
  fail "process $1" "to be gone" "still there"
}
# first_step FILE: the number of the first step in a report.
first_step() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["steps"][0]["step"])' "$1"; }
shared_memory() { find /dev/shm -maxdepth 1 -name '*orrery*' | sort; }

segments=$(shared_memory)
steps=1000000
kills=0
lost=0
while ((kills < count)); do
  before=$(last_done)
  "$orrery" execute plan.json --steps $steps --checkpoint checkpoints --every 2 --resume >out 2>err &
  run=$!
  # From the start of the ranks to some time after the first checkpoints.
  wait_for=$((RANDOM % 2000))
  sleep "$(printf '%d.%03d' $((wait_for / 1000)) $((wait_for % 1000)))"
  ranks=$(children "$run")
  seen=$(last_done)
  read -ra all <<<"$(echo $ranks)"
  victim=$run
  if ((RANDOM % 2 && ${#all[@]} > 0)); then victim=${all[RANDOM % ${#all[@]}]}; fi
  signals=(KILL KILL INT TERM)
  signal=${signals[RANDOM % 4]}
  kill "-$signal" "$victim" 2>/dev/null
  wait "$run" 2>/dev/null
  code=$?
  [[ $code != 0 && $code != 1 && $code != 2 ]] || fail "exit code of kill $kills ($signal of $victim)" "not $code" "$(<err)"
  for process in $ranks; do gone "$process"; done
  after=$(last_done)
  ((after >= seen && after >= before)) || { lost=$((lost + 1)) && fail "last DONE" "at least $seen" "$after"; }
  [[ $(shared_memory) == "$segments" ]] || fail "shared memory" "$segments" "$(shared_memory)"
  [[ -z $(ls -A "$TMPDIR") ]] || fail "temporary files" "none" "$(ls -A "$TMPDIR")"
  # Steps count from 0: behind as many as DONE says comes the one of that number.
  "$orrery" execute plan.json --steps $((after + 1)) --checkpoint checkpoints --resume --json >resumed.json 2>err ||
    fail "the resume after kill $kills" "exit code 0" "$(<err)"
  first=$(first_step resumed.json)
  ((first == after && first >= seen)) || { lost=$((lost + 1)) && fail "first step after kill $kills" "$after, at least $seen" "$first"; }
  ls -d checkpoints/step_*/DONE 2>/dev/null | head -n -2 | sed 's|/DONE$||' | xargs -r rm -r  # old ones: room for new ones
  kills=$((kills + 1))
done

last=$(last_done)
steps=$((last + 3))
"$orrery" execute plan.json --steps $steps --checkpoint checkpoints --resume --json >resumed.json 2>err ||
  fail "the last resume" "exit code 0" "$(<err)"
"$orrery" execute plan.json --steps $steps --json >whole.json 2>err || fail "an undisturbed run" "exit code 0" "$(<err)"
python3 - <<'P' || fail "losses after the last resume" "those of an undisturbed run" "$(<difference)"
import json
curve = lambda path: {r["step"]: (r["loss"], r["grad_norm"]) for r in json.load(open(path))["steps"]}
whole, resumed = curve("whole.json"), curve("resumed.json")
shared = [step for step in resumed if step in whole]
bad = [step for step in shared if whole[step] != resumed[step]]
open("difference", "w").write(f"steps {bad} of {shared} differ")
raise SystemExit(1 if bad or not shared else 0)
P
incomplete=$(find checkpoints -mindepth 1 -maxdepth 1 -type d ! -exec test -e '{}/DONE' ';' -print)
[[ -z $incomplete ]] || fail "incomplete checkpoints after a resume" "none" "$incomplete"
echo "$kills kills, the last DONE at step $last, $lost lost"
finish
