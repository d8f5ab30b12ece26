#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# interrupted_test.sh REPOSITORY ORRERY: a rank that dies and a user who loses patience. No rank and no file is left.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas
printf '{"schema": "strategy/1", "ep": 2, "precision": "f32"}\n' >ep2.json
cp "$data/cluster/good-one-cpu-node.json" cluster.json
run fit moe-tiny-cpu cluster.json ep2.json --sequence 64 --global-batch 4 \
  --calibration "$data/calibration/good-cpu.json" --out plan.json
[[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"
before=$(ls -A)

# children PID: processes whose parent it is.
children() {
  grep -ls "^PPid:[[:space:]]$1\$" /proc/[0-9]*/status 2>/dev/null | sed 's|/proc/\([0-9]*\)/.*|\1|'
}

# start: a training run that would take hours; leaves its pid in $run and its ranks in $ranks.
start() {
  "$orrery" execute plan.json --steps 1000000 --trace long.trace --time-out 3 >"$sandbox/out" 2>"$errors" &
  run=$!
  ranks=
  for _ in $(seq 300); do
    ranks=$(children "$run")
    [[ $(wc -w <<<"$ranks") == 2 ]] && break
    sleep 0.1
  done
  [[ $(wc -w <<<"$ranks") == 2 ]] || fail "ranks of execute" "2 processes" "${ranks:-none}, $(<"$errors")"
}

# expect_end CODE
expect_end() {
  wait "$run"
  code=$?
  [[ $code == "$1" ]] || fail "exit code" "$1" "$code, $(<"$errors")"
  for rank in $ranks; do
    for _ in $(seq 100); do
      [[ -e /proc/$rank && $(<"/proc/$rank/stat") != *") Z "* ]] || continue 2
      sleep 0.1
    done
    fail "rank $rank" "to be gone" "still there"
  done
  [[ $(ls -A) == "$before" ]] || fail "files" "$before" "$(ls -A)"
}

start
kill -KILL "${ranks%%[[:space:]]*}"
expect_end 4
grep -qE '^orrery: rank [01].*signal 9 \(Killed\)' "$errors" || fail "message" "rank, signal 9 (Killed)" "$(<"$errors")"

# A rank that does not go on: the others say for whom they waited and what it did last.
start
sleep 1
kill -STOP "${ranks%%[[:space:]]*}"
expect_end 4
grep -qE '^orrery: rank [01], [^ ]+: [a-z_]+: rank [01] did not come within 3 s; ' "$errors" ||
  fail "message" "who, where, for whom" "$(<"$errors")"

start
kill -KILL "$run"
expect_end 137

start
kill -INT "$run"
expect_end 130

finish
