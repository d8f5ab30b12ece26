# SPDX-License-Identifier: Apache-2.0
# Sourced after expect.sh by the tests of jobs of several processes: each has two ranks of a plan of four, and stands for
# a host of its own.
export ORRERY_JOB_TOKEN=secret-of-the-test
data=$repository/tests/data/schemas
sed 's/"devices_per_node": 2/"devices_per_node": 4/' "$data/cluster/good-one-cpu-node.json" >cluster.json

# fit_plan NAME STRATEGY [CLUSTER RANKS]: four ranks, or as many as the cluster has.
fit_plan() {
  printf '{"schema": "strategy/1", "precision": "f32", %s}\n' "$2" >"$1.strategy.json"
  run fit moe-tiny-cpu "${3:-cluster.json}" "$1.strategy.json" --sequence 64 --global-batch "${4:-4}" \
    --calibration "$data/calibration/good-cpu.json" --out "$1.json"
  [[ $code == 0 ]] || fail "exit code of fit" 0 "$code, $err"
}

# free_port: below those that Linux hands out, and nobody listens there just now.
free_port() {
  python3 -c 'import random, socket
while True:
    port = random.randint(20000, 32000)
    with socket.socket() as s:
        if s.connect_ex(("127.0.0.1", port)) != 0:
            print(port)
            break'
}

# same_losses A B: losses and norms of two reports, bit for bit.
same_losses() {
  python3 - "$1" "$2" <<'P'
import json, sys
a, b = ([(r["step"], r["loss"], r["grad_norm"]) for r in json.load(open(path))["steps"]] for path in sys.argv[1:])
raise SystemExit(0 if a and a == b else f"{a}\n  {b}")
P
}

# children PID: processes whose parent it is.
children() {
  grep -ls "^PPid:[[:space:]]$1\$" /proc/[0-9]*/status 2>/dev/null | sed 's|/proc/\([0-9]*\)/.*|\1|'
}

# gone PID...: waits until these processes have ended.
gone() {
  local process
  for process in "$@"; do
    for _ in $(seq 200); do
      [[ -e /proc/$process && $(cat "/proc/$process/stat" 2>/dev/null) != *") Z "* ]] || continue 2
      sleep 0.05
    done
    fail "process $process" "to be gone" "still there"
  done
}
