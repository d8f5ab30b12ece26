#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# sweep_test.sh REPOSITORY ORRERY: a sweep by two processes, cut off and gone on with, and what it answers.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"

cat >sweep.json <<'END'
{
  "schema": "sweep/1",
  "models": ["mixtral-8x7b"],
  "clusters": ["h100-64"],
  "nodes": [1, 2],
  "sequence": [4096],
  "global_batch": [64],
  "where": [["tp=1", "pp=1", "cp=1", "micro_batch=1"], ["tp=1", "pp=2", "cp=1", "micro_batch=1"]]
}
END
sweep=(plan --sweep sweep.json --out results.jsonl)

# Each of two processes takes half of the points; the second one is killed in the middle of a line.
PMI_RANK=0 PMI_SIZE=2 run "${sweep[@]}"
[[ $code == 0 ]] || fail "exit code of the first process" 0 "$code: $err"
# How far each point is, and what came out.
for line in 'orrery: point [13] of 4: mixtral-8x7b on h100-64' \
  'orrery: (bounds|near|closed|analytic): [0-9]+ done, [0-9]+ evaluated, [0-9]+ pruned, best [0-9.]+ s(, gap [0-9.]+ %)?' \
  'orrery: best [0-9.]+ s, gap [0-9.]+ %'; do
  grep -qE "^$line$" <<<"$err" || fail "progress" "$line" "$err"
done
PMI_RANK=1 PMI_SIZE=2 run "${sweep[@]}"
[[ $(wc -l <results.jsonl.0) == 2 && $(wc -l <results.jsonl.1) == 2 ]] || fail "lines of each" "2 and 2" "$(wc -l results*)"
cp results.jsonl.1 whole
head -c -20 whole >results.jsonl.1

# Gone on with by one process: one point is searched, and is what it was.
run "${sweep[@]}" --deadline "100 s"
[[ $code == 0 ]] || fail "exit code of the rest" 0 "$code: $err"
[[ $(grep -c known <<<"$err") == 3 ]] || fail "points that were known" 3 "$err"
diff <(tail -1 whole) results.jsonl || fail "the point that was cut off" "the same line" "another"
grep -qE '^  of them searched +4$' <<<"$out" || fail "report" "4 searched" "$out"

# On 8 devices it runs in one stage or two or not at all; on 16 it is faster.
grep -qE 'most tokens/s +mixtral-8x7b on 16 of h100-64' <<<"$out" || fail "fastest" "16 devices" "$out"
grep -qE 'fewest devices for 100 s +mixtral-8x7b on (8|16) of' <<<"$out" || fail "fewest" "a number" "$out"
# Under other options they are other points: nothing is known, and both keep their lines.
run "${sweep[@]}" --framework megatron
[[ $(grep -c known <<<"$err") == 0 && $(grep -c '"with":"framework megatron"' results.jsonl) == 4 ]] ||
  fail "points under another option" "4 lines of their own" "$err"
run "${sweep[@]}"
[[ $(grep -c known <<<"$err") == 4 ]] || fail "points without it" "known" "$err"
run "${sweep[@]}" --deadline "1 us"
grep -qE 'fewest devices for 1.00 us +none' <<<"$out" || fail "nothing is so fast" "none" "$out"

expect_error 2 '--sweep: expected --out FILE for its results, as JSON Lines' plan --sweep sweep.json
sed -i 's/\[1, 2\]/[99]/' sweep.json
run "${sweep[@]}"
[[ $code == 2 && $err == *'cluster "h100-64": expected at most its 8 nodes, got 99'* ]] || fail "too many nodes" 2 "$err"

# One bad point ends no sweep: it has a line with the reason, is asked again, and is written once.
sed 's/"name": "NVIDIA H100 SXM 80GB"/"name": "H1000"/' "$repository/catalog/devices/h100.json" >device.json
python3 - "$repository/catalog/clusters/h100-64.json" <<'END'
import json, sys
cluster = json.load(open(sys.argv[1]))
device = json.load(open("device.json"))
for name, price, own in (("dear", "4 USD/h", None), ("cheap", "2 USD/h", None), ("unknown", None, device)):
    copy = json.loads(json.dumps(cluster))
    copy["price"] = price
    if own:
        copy["groups"][0]["device"] = own
    json.dump(copy, open(name + ".json", "w"))
END
cat >sweep.json <<'END'
{
  "schema": "sweep/1",
  "models": ["mixtral-8x7b"],
  "clusters": ["unknown.json", "dear.json", "cheap.json"],
  "nodes": [2],
  "sequence": [4096],
  "global_batch": [64],
  "where": [["tp=1", "tp=2"], ["tp=1", "pp=2", "cp=1", "micro_batch=1"]]
}
END
for round in 1 2; do
  run plan --sweep sweep.json --out mixed.jsonl --deadline "100 s"
  [[ $code == 0 ]] || fail "exit code of a sweep with bad points, round $round" 0 "$code: $err"
  [[ $(wc -l <mixed.jsonl) == 6 ]] || fail "lines of a sweep with bad points" 6 "$(cut -c1-200 mixed.jsonl)"
  [[ $(grep -c '"refused":"H1000 is not calibrated: the catalog has no calibration of it"' mixed.jsonl) == 2 ]] ||
    fail "clusters that are not calibrated" 2 "$(cut -c1-200 mixed.jsonl)"
  [[ $(grep -cF '"refused":"conditions \"tp=1\" and \"tp=2\" contradict each other' mixed.jsonl) == 2 ]] ||
    fail "conditions that contradict" 2 "$(cut -c1-200 mixed.jsonl)"
  grep -qE '^  of them searched +2$' <<<"$out" || fail "searched" 2 "$out"
  grep -qE '^  of them refused, as bad input +4$' <<<"$out" || fail "refused" 4 "$out"
  # Of two clusters that differ in their price alone, the cheaper one.
  for line in 'least price of a token' 'cheapest for 100 s'; do
    grep -qE "^  $line +mixtral-8x7b on 16 of cheap.json" <<<"$out" || fail "$line" "cheap.json" "$out"
  done
done
[[ $(grep -c ', known' <<<"$err") == 2 ]] || fail "points that were known" 2 "$err"
finish
