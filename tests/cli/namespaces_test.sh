#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# namespaces_test.sh REPOSITORY ORRERY: two network namespaces as two hosts, with clocks that differ by a day and a link
# between them that is slow, and that is cut while they train. Needs root, ip and tc; skipped without.
repository=$1
orrery=$2
skip() {
  echo "SKIPPED: $1"
  exit 77
}
PATH=$PATH:/usr/sbin:/sbin
[[ $(id -u) == 0 ]] || skip "network namespaces need root"
command -v ip >/dev/null || skip "no ip (package iproute2)"
command -v tc >/dev/null || skip "no tc (package iproute2)"
source "$(dirname "$0")/expect.sh"
source "$repository/tests/cli/jobs.sh"
a=orrery-$$-a
b=orrery-$$-b
trap 'ip netns del $a 2>/dev/null; ip netns del $b 2>/dev/null; rm -rf "$sandbox"' EXIT
ip netns add $a 2>ip.err && ip netns add $b 2>>ip.err &&
  ip link add veth-a netns $a type veth peer name veth-b netns $b 2>>ip.err &&
  ip -n $a addr add 10.213.77.1/24 dev veth-a && ip -n $b addr add 10.213.77.2/24 dev veth-b &&
  ip -n $a link set veth-a up && ip -n $b link set veth-b up &&
  ip -n $a link set lo up && ip -n $b link set lo up || skip "this kernel gives no network namespaces: $(<ip.err)"

rate=1000000 # bit/s each way: what a step sends over the link takes about a second
shape() {
  tc -n $a qdisc add dev veth-a root tbf rate ${rate}bit burst 16kb latency 400ms &&
    tc -n $b qdisc add dev veth-b root tbf rate ${rate}bit burst 16kb latency 400ms
}
shape 2>ip.err || skip "this kernel cannot shape a link: $(<ip.err)"

# A time namespace gives the second host a clock of its own.
later=(unshare --time --fork --monotonic 86400)
"${later[@]}" true 2>/dev/null || {
  echo "this kernel gives no time namespaces: both hosts have one clock"
  later=()
}

fit_plan layout '"ep": 2, "pp": 2' # the stages are on different hosts
job=(execute layout.json --json --nodes 2 --rendezvous 10.213.77.1:21977)

"$orrery" execute layout.json --steps 3 --json >alone.json
ip netns exec $b "${later[@]}" "$orrery" "${job[@]}" --node-rank 1 --steps 3 >1.json 2>1.err &
ip netns exec $a "$orrery" "${job[@]}" --node-rank 0 --steps 3 --trace slow.trace >0.json 2>0.err
code=$?
wait $! && [[ $code == 0 ]] || fail "exit codes" "0 0" "$code, $(cat 0.err 1.err)"
difference=$(same_losses alone.json 0.json 2>&1) || fail "losses over a slow link" "those of one host" "$difference"
# The link was used: activations of a step cannot come faster than it lets them through, but for its burst.
python3 - $rate <<'P' || fail "step time over a slow link" "at least what the link takes for the activations" "less"
import json, sys
spans = [line["span"] for line in map(json.loads, open("slow.trace")) if "span" in line]
print(f"spans of ranks {sorted({s[1] for s in spans})}, from {min(s[4] for s in spans):.3f} s on")
if max(abs(s[4]) for s in spans) > 600:  # a clock is a day off
    raise SystemExit(1)
for step in (1, 2):
    sent = sum(s[8] for s in spans if s[0] == step and s[1] in (0, 1) and s[3] == "pp_send_next")
    least = (sent - 16 * 1024) * 8 / float(sys.argv[1])
    time = max(s[6] for s in spans if s[0] == step)
    print(f"step {step}: {sent:.0f} bytes of activations, {time:.2f} s, the link alone {least:.2f} s")
    if not 0.1 < least < time:
        raise SystemExit(1)
P

# Hosts of two and of three ranks that sum gradients together: to the bits of one host, and the sums cross the link once
# in each direction, 2.4 times less than if each rank spoke to each other one.
fast=200000000
for end in a:$a b:$b; do
  tc -n "${end#*:}" qdisc change dev "veth-${end%%:*}" root tbf rate ${fast}bit burst 256kb latency 400ms
done
sed 's/"devices_per_node": 4/"devices_per_node": 5/' cluster.json >five.json
fit_plan unequal '"zero_dense": 0' five.json 5
job_of_five=(execute unequal.json --json --nodes 2 --rendezvous 10.213.77.1:21978 --steps 2)
counted() { ip -n $a -s -j link show veth-a; }
"$orrery" execute unequal.json --steps 2 --json >alone.json
counted >before.json
ip netns exec $b "${later[@]}" "$orrery" "${job_of_five[@]}" --node-rank 1 --local-ranks 3 >1.json 2>1.err &
ip netns exec $a "$orrery" "${job_of_five[@]}" --node-rank 0 --local-ranks 2 --trace five.trace >0.json 2>0.err
code=$?
wait $! && [[ $code == 0 ]] || fail "exit codes of unequal hosts" "0 0" "$code, $(cat 0.err 1.err)"
counted >after.json
difference=$(same_losses alone.json 0.json 2>&1) || fail "losses of unequal hosts" "those of one host" "$difference"
python3 - $fast <<'P' || fail "bytes on the link of unequal hosts" "those of the gradients once each way" "others"
import json, sys
spans = [line["span"] for line in map(json.loads, open("five.trace")) if "span" in line]
# An all-reduce of n ranks counts 2 (n - 1) times its buffer over all of them.
gradients = sum(s[8] for s in spans if "grad_ar" in s[2]) / 8
stats = [json.load(open(f"{when}.json"))[0]["stats64"] for when in ("before", "after")]
crossed = {way: stats[1][way]["bytes"] - stats[0][way]["bytes"] for way in ("tx", "rx")}
print(f"gradients {gradients:.0f} bytes, on the link {crossed}")
for step in (0, 1):
    time = max(s[6] for s in spans if s[0] == step) - min(s[4] for s in spans if s[0] == step)
    print(f"step {step}: {time:.2f} s, the link alone {gradients / 2 * 8 / float(sys.argv[1]):.2f} s")
# Headers of packets, acknowledgements and what the processes tell each other come to less than a tenth.
if not gradients > 1e6 or not all(gradients <= bytes < 1.1 * gradients for bytes in crossed.values()):
    raise SystemExit(1)
P

# Somebody pulls the plug: both ends say so within the time-out, and no rank is left.
ip netns exec $b "$orrery" "${job[@]}" --node-rank 1 --steps 100000 --time-out 3 >1.json 2>1.err &
one=$!
ip netns exec $a "$orrery" "${job[@]}" --node-rank 0 --steps 100000 --time-out 3 >0.json 2>0.err &
zero=$!
for _ in $(seq 300); do
  ranks="$(children $zero) $(children $one)"
  [[ $(wc -w <<<"$ranks") == 4 ]] && break
  sleep 0.1
done
[[ $(wc -w <<<"$ranks") == 4 ]] || fail "ranks" "4 processes" "$ranks, $(cat 0.err 1.err)"
sleep 3
ip -n $a link set veth-a down
before=$SECONDS
wait $zero
code0=$?
wait $one
code1=$?
[[ $code0 == 4 && $code1 == 4 ]] || fail "exit codes after the cut" "4 4" "$code0 $code1"
((SECONDS - before < 20)) || fail "the end after the cut" "within 20 s" "$((SECONDS - before)) s"
gone $ranks
for host in 0 1; do
  grep -qE '^orrery: rank [0-3](, [^ ]+)?: .*(did not come within 3 s|nothing was heard of it|did not answer within)' \
    $host.err || fail "message of process $host" "who was not heard of" "$(<$host.err)"
done
finish
