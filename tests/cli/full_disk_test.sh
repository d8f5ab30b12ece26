#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# full_disk_test.sh REPOSITORY ORRERY: a disk that is full when a checkpoint is saved ends the run with the file and the
# reason, and the last complete checkpoint is still one to go on from. The disk is a tmpfs in a mount namespace; where
# none can be had, the test is skipped.
repository=$1
orrery=$2
if [[ ${IN_NAMESPACE:-} != yes ]]; then
  export IN_NAMESPACE=yes
  for flags in "--mount" "--user --map-root-user --mount"; do
    # shellcheck disable=SC2086
    unshare $flags mount -t tmpfs -o size=1m none /tmp 2>/dev/null && exec unshare $flags bash "$0" "$@"
  done
  echo "SKIPPED: this kernel gives no mount namespaces"
  exit 77
fi
source "$(dirname "$0")/expect.sh"
data=$repository/tests/data/schemas
cp "$data/cluster/good-one-cpu-node.json" cluster.json
printf '{"schema": "strategy/1", "ep": 2, "precision": "f32"}\n' >ep2.json
run fit moe-tiny-cpu cluster.json ep2.json --sequence 32 --global-batch 4 \
  --calibration "$data/calibration/good-cpu.json" --out plan.json
[[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"

losses() { grep -oE '"(loss|grad_norm)": [^,]*' "$1" | xargs; }

"$orrery" execute plan.json --steps 3 --json --checkpoint whole --every 1 >whole.json 2>/dev/null ||
  fail "a run with room" "exit code 0" "$?"
kib=$(du -sk whole/step_00000001 | cut -f 1)

# Room for one checkpoint and a half.
mkdir disk
trap 'cd /; umount "$sandbox/files/disk"; rm -rf "$sandbox"' EXIT
mount -t tmpfs -o size=$((kib * 3 / 2))k none disk || fail "a tmpfs" "mounted" "not"
run execute plan.json --steps 3 --checkpoint disk/saved --every 1
named="^orrery: rank [01], [^:]*: cannot write $PWD/disk/saved/step_00000002/[a-z0-9_.]*: No space left on device$"
[[ $code == 4 ]] || fail "exit code on a full disk" 4 "$code, $err"
[[ $(grep -c 'cannot write' <<<"$err") == 1 ]] || fail "a full disk" "said once" "$err"
grep -qE "$named" <<<"$err" || fail "a full disk" "$named" "$err"
[[ -e disk/saved/step_00000001/DONE ]] || fail "the last complete checkpoint" "DONE" "$(ls -R disk)"
[[ ! -e disk/saved/step_00000002/DONE ]] || fail "the checkpoint that did not fit" "not DONE" "$(ls -R disk)"

# With more room the run goes on, to the losses of the one that was never stopped.
mount -o remount,size=$((kib * 4))k none disk || fail "a larger tmpfs" "mounted" "not"
"$orrery" execute plan.json --steps 3 --json --checkpoint disk/saved --every 1 --resume >resumed.json 2>/dev/null ||
  fail "a resume after a full disk" "exit code 0" "$?"
[[ -n $(losses resumed.json) && $(losses whole.json) == *"$(losses resumed.json)" ]] ||
  fail "losses after a full disk" "$(losses whole.json)" "$(losses resumed.json)"
[[ $(ls disk/saved | xargs) == "step_00000001 step_00000002 step_00000003" ]] ||
  fail "checkpoints after a full disk" "three" "$(ls disk/saved | xargs)"
finish
