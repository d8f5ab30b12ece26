#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mpi_test.sh REPOSITORY ORRERY: one training run whose ranks mpirun starts and MPI connects. It trains to the bits of a
# run over shared memory and sends as many bytes in each op; what does not fit is named; a rank that dies or hangs, and
# Ctrl-C, end all and leave nothing behind. Exit 77 (skipped) where there is no MPI.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
command -v mpirun >/dev/null || { echo "skipped: there is no mpirun: apt-get install openmpi-bin"; exit 77; }
ldd "$(dirname "$orrery")/orrery-rank" | grep libmpi >/dev/null || { echo "skipped: orrery-rank is built without MPI"; exit 77; }
source "$repository/tests/cli/jobs.sh"
fit_plan layout '"ep": 2, "pp": 2'
fit_plan wide '"ep": 4, "zero_dense": 1'
sed 's/"devices_per_node": 4/"devices_per_node": 2/' -i cluster.json
fit_plan pair '"ep": 2, "zero_dense": 3'
fit_plan stages '"pp": 2'
# Open MPI's shared memory lies in a folder of this test, so that what others leave is not taken for ours.
mkdir "$sandbox/shared"
mpirun=(mpirun --allow-run-as-root --oversubscribe --bind-to none --mca btl_vader_backing_directory "$sandbox/shared")
execute=("$orrery" execute)

# over_mpi RANKS ARGS: leaves $code and its output in mpi.out, mpi.err.
over_mpi() {
  local ranks=$1
  shift
  timeout 100 "${mpirun[@]}" -n "$ranks" "${execute[@]}" "$@" --communicator mpi >mpi.out 2>mpi.err
  code=$?
}

# same_bytes A B: what each rank has sent in each op, of two traces.
same_bytes() {
  python3 - "$1" "$2" <<'P'
import collections, json, sys
def sent(path):
    bytes_of = collections.Counter()
    for line in open(path):
        if (span := json.loads(line).get("span")) and span[8] > 0:
            bytes_of[span[1], span[3]] += span[8]
    return bytes_of
a, b = map(sent, sys.argv[1:])
raise SystemExit(0 if a and a == b else f"{len(a)} and {len(b)} ops that send, {a - b} and {b - a} more")
P
}

for case in "2 pair" "2 stages" "4 layout" "4 wide"; do
  read -r ranks plan <<<"$case"
  "${execute[@]}" $plan.json --steps 3 --json --trace alone.trace >alone.json || fail "$plan in memory" "exit code 0" "$?"
  over_mpi "$ranks" $plan.json --steps 3 --json --trace mpi.trace
  [[ $code == 0 ]] || fail "exit code of $plan over MPI" 0 "$code, $(<mpi.err)"
  difference=$(same_losses alone.json mpi.out 2>&1) || fail "losses of $plan over MPI" "those over memory" "$difference"
  difference=$(same_bytes alone.trace mpi.trace 2>&1) || fail "bytes of $plan over MPI" "those over memory" "$difference"
  grep -q "\"$ranks processes with 1 rank each, over mpi; " mpi.out || fail "notes" "processes, and MPI" "$(<mpi.out)"
done

# mpirun starts processes with any share of the ranks; without the option they talk over TCP.
"${execute[@]}" layout.json --steps 3 --json >alone.json
timeout 100 "${mpirun[@]}" -n 2 "${execute[@]}" layout.json --steps 3 --json >tcp.out 2>tcp.err || fail "over TCP" 0 "$?"
difference=$(same_losses alone.json tcp.out 2>&1) || fail "losses over TCP" "those over memory" "$difference"
grep -q '"2 processes with 2 ranks each, over tcp; ' tcp.out || fail "notes" "processes, and TCP" "$(<tcp.out)"

# calibrate times collectives over MPI, in groups of every size, and ops on the ranks of this host.
cat >small.json <<'J'
{"model_type": "qwen3_moe", "hidden_act": "silu", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64,
 "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48, "moe_intermediate_size": 24,
 "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": true, "mlp_only_layers": [0],
 "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false}
J
timeout 200 "${mpirun[@]}" -n 4 "$orrery" calibrate small.json --ranks 4 --seconds 1 --sequence 16 --global-batch 4 \
  --communicator mpi --out measured >mpi.out 2>mpi.err || fail "exit code of calibrate over MPI" 0 "$?, $(<mpi.err)"
difference=$(python3 - measured/calibration.json 2>&1 <<'P'
import json, sys
calibration = json.load(open(sys.argv[1]))
groups = {(point["op"], point["path"], point["nodes"], point["ranks"]) for point in calibration["collectives"]}
wanted = {(op, "node", 1, ranks) for op in ("all_reduce", "reduce_scatter", "all_gather") for ranks in (2, 4)}
software, points = calibration["software"], calibration["points"]
fits = wanted <= groups and software.endswith(", 4 processes over mpi") and any(p["op"] == "gemm" for p in points)
raise SystemExit(0 if fits else f"{groups}, {software}, {len(points)} points")
P
) || fail "a calibration over MPI" "collectives of 2 and 4 ranks, and ops" "$difference"

# What cannot start says why, at once.
expect_error 2 "--communicator mpi: expected processes that mpirun has started, one for each rank
  hint: mpirun -n 4 orrery execute PLAN --communicator mpi" execute layout.json --communicator mpi
expect_error 2 "--communicator mpi: expected processes that mpirun has started, one for each rank
  hint: mpirun -n 4 orrery execute PLAN --communicator mpi" \
  execute layout.json --communicator mpi --nodes 4 --node-rank 0 --rendezvous 127.0.0.1:1
expect_error 2 "--communicator mpi: expected processes that mpirun has started, one for each rank
  hint: mpirun -n 4 orrery calibrate --ranks 4 --communicator mpi" calibrate small.json --ranks 4 --communicator mpi
over_mpi 2 layout.json
[[ $code == 2 && $(<mpi.err) == *"over MPI: expected one process for each of the 4 ranks of the plan, got 2
  hint: mpirun -n 4"* ]] || fail "two processes for four ranks" "exit code 2 and why" "$code, $(<mpi.err)"
timeout 100 "${mpirun[@]}" -n 1 "${execute[@]}" pair.json --communicator mpi : -n 1 "${execute[@]}" pair.json \
  >mpi.out 2>mpi.err
code=$?
[[ $code == 2 && $(<mpi.err) == *"process 1 on $(hostname): expected communicator mpi of process 0, got tcp"* ]] ||
  fail "processes that disagree" "exit code 2 and on what" "$code, $(<mpi.err)"

# rank_process RANK: of the job that $job started.
rank_process() {
  local launcher process
  for launcher in $(children "$job"); do
    for process in $(children "$launcher"); do
      grep -qzx "ORRERY_RANK=$1" "/proc/$process/environ" 2>/dev/null && echo "$process"
    done
  done
}

# start: a run that would take hours; leaves mpirun in $job and all its processes in $processes.
start() {
  "${mpirun[@]}" -n 4 "${execute[@]}" layout.json --steps 1000000 --time-out 3 --communicator mpi >mpi.out 2>mpi.err &
  job=$!
  for _ in $(seq 300); do
    processes="$(for launcher in $(children "$job"); do echo "$launcher $(children "$launcher" | tr '\n' ' ')"; done)"
    [[ $(wc -w <<<"$processes") == 8 ]] && break
    sleep 0.1
  done
  [[ $(wc -w <<<"$processes") == 8 ]] || fail "processes" "four launchers and their ranks" "$processes, $(<mpi.err)"
  sleep 1.5
}

# expect_end WHAT CODE PATTERN: within the time-out and a little, with nobody and nothing left.
expect_end() {
  local before=$SECONDS
  wait "$job"
  code=$?
  [[ $code == "$2" ]] || fail "exit code after $1" "$2" "$code, $(<mpi.err)"
  ((SECONDS - before < 15)) || fail "the end after $1" "within 15 s" "$((SECONDS - before)) s"
  gone $processes
  [[ -z $3 ]] || grep -qE "$3" mpi.err || fail "message after $1" "$3" "$(<mpi.err)"
  local left
  left=$(ls "$sandbox/shared")
  [[ -z $left ]] || fail "shared memory after $1" "none" "$left"
}

start
kill -KILL "$(rank_process 2)"
# Its own launcher says so, or, when mpirun ends that one first, another that has heard of it.
expect_end "a killed rank" 4 '^orrery: rank 2(, [^ ]+)?: (on .* \(rank 2\): )?killed by signal 9 \(Killed\)$'

start
kill -STOP "$(rank_process 2)"
expect_end "a rank that hangs" 4 \
  "rank [0-3], [^ ]+: .*(rank [0-3] did not come within 3 s; its last op was |no new op within 3)"

start
kill -INT "$job"
expect_end "Ctrl-C" 1 ""

finish
