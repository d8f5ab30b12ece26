#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# explain_test.sh REPOSITORY ORRERY: where a step goes, what tells two plans apart, and a job of somebody else's.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
workload=(--sequence 4096 --global-batch 64)

make_plan() { # NAME STRATEGY
  printf '%s\n' "$2" >"$1.strategy.json"
  run fit qwen3-30b-a3b h100-64 "$1.strategy.json" "${workload[@]}" --calibration h100 --out "$1.json"
  [[ -s $1.json ]] || fail "plan $1" "a file" "$code, $err"
}
make_plan a '{"schema": "strategy/1", "ep": 8, "zero_dense": 1, "zero_expert": 1, "recompute": "full"}'
make_plan b '{"schema": "strategy/1", "pp": 2, "ep": 8, "zero_dense": 1, "zero_expert": 1, "recompute": ["moe_act"]}'

# One plan: both accounts add up to the step, memory, what binds.
run explain a.json --json
[[ $code == 0 ]] || fail "exit code of explain" 0 "$code, $err"
share() { grep -o "\"share_of_$1\": [-0-9.e]*" <<<"$out" | awk '{ sum += $2 } END { printf "%.6f", sum }'; }
[[ $(share ranks) == 1.000000 && $(share path) == 1.000000 ]] || fail "parts" "1 and 1" "$(share ranks), $(share path)"
for line in 'compute( +[0-9.]+ [mu]?s +[0-9.]+ %){2}' 'recompute .*' 'exposed ep .*' 'optimizer .*' \
  'arithmetic +989 TFLOP/s +[-+][0-9.]+ %' 'network bandwidth +50\.0 GB/s +-[0-9.]+ %' 'launch overhead +several +\+[0-9.]+ %' \
  'what binds +[a-z -]+' 'memory left +[0-9.]+ GiB' 'next pipeline rank +1' 'headroom +[0-9.]+ GiB'; do
  plan=a && [[ $line == next* ]] && plan=b
  expect_line "^  $line\$" explain $plan.json
done

# Two plans: what the choices are worth adds up to the difference.
run explain a.json --against b.json --json
[[ $code == 0 ]] || fail "exit code of --against" 0 "$code, $err"
seconds='{ gsub(/[",]/, ""); u = $3 == "s" ? 1 : $3 == "ms" ? 1e-3 : $3 == "us" ? 1e-6 : 1e-9; sum += $2 * u }'
worth=$(grep '"worth"' <<<"$out" | awk "$seconds"' END { printf "%.9f", sum }')
difference=$(grep '"difference":' <<<"$out" | awk "$seconds"' END { printf "%.9f", sum }')
awk "BEGIN { d = $worth - ($difference); exit !(d < 2e-9 && d > -2e-9) }" || fail "worth" "$difference" "$worth"
expect_line '^  pp 1 -> 2, stages 48 -> 2x24 +[-0-9.]+ [mu]?s +[-+][0-9.]+ %$' explain a.json --against b.json
expect_line '^  recompute full -> moe_act +-' explain a.json --against b.json
make_plan c '{"schema": "strategy/1", "ep": 8}'
# A plan of another job, one altered field at a time.
zeros=$(printf '%064d' 0)
swapped="[1, 0, $(seq -s ', ' 2 63)]"
another_job() { # SED WHAT
  sed "$1" c.json >other.json
  cmp -s c.json other.json && fail "altered $2" "another file" "the same"
  expect_error 2 "other.json: expected a plan of the same job as c.json, got another $2" explain c.json --against other.json
}
another_job "/^  \"model\"/,/sha256/ s/\"sha256\": \".*\"/\"sha256\": \"$zeros\"/" model
another_job "/^  \"cluster\"/,/^  }/ s/\"1.979 Pflop/\"1.9 Pflop/" cluster
another_job 's/"global_batch": 64/"global_batch": 128/' batch
another_job 's/"sequence": 4096/"sequence": 2048/' batch
another_job 's/"load": "balanced"/"load": {"kind": "dirichlet", "alpha": 1, "seed": 1}/' load
packed='s|"sequences": "fixed"|"sequences": {"schema": "sequence/1", "kind": "packed", "documents": [1024, 512]}|'
another_job "$packed" sequences
another_job "s/\"device_of_rank\": null/\"device_of_rank\": $swapped/" placement
another_job "/^  \"calibration\"/,/^  }/ s/\"sha256\": \".*\"/\"sha256\": \"$zeros\"/" calibration
another_job "s/\"global_batch\": 64/\"global_batch\": 128/; $packed" 'batch, sequences'

# Of many choices every combination is in the JSON, with whether it fits; the text has their number.
make_plan many '{"schema": "strategy/1", "tp": 2, "sp": true, "pp": 2, "ep": 16, "zero_dense": 1, "zero_expert": 0,
  "micro_batch": 2, "recompute": ["moe_act"]}'
run explain a.json --against many.json --json
num_combinations=$(grep -c '"members":' <<<"$out")
((num_combinations >= 32)) || fail "combinations" "32 at least" "$num_combinations"
num_over=$(grep -A4 '"members":' <<<"$out" | grep -c '"fits": false')
run explain a.json --against many.json
grep -qF "note: $num_over of $num_combinations combinations need more memory than a device has" <<<"$out" ||
  fail "combinations that do not fit" "$num_over of $num_combinations" "$out"
grep -q '^All combinations' <<<"$out" && fail "text" "no table of them" "$out"

# The search's best other plan, from the table of `orrery plan`: of a plan that is not the best, the best; of the best,
# the second.
search=(plan qwen3-30b-a3b h100-64 "${workload[@]}" --calibration h100 --no-simulation)
run "${search[@]}" --out best.json
table=$(grep -E '^ +[12] ( +[^ ]+){12}' <<<"$out")
behind=$(grep -cE '^  # .* order$' <<<"$out") # a last column, where orders differ
time_of() { awk -v row="$1" -v behind="$behind" '$1 == row { print $(NF - 2 - behind), $(NF - 1 - behind) }' <<<"$table"; }
run explain a.json --against best.json --json
against=$(sed 's/^  "against": {/  "next": {/' <<<"$out")
run explain a.json --next --json
[[ $(grep -v '^    "next": ' <<<"$out") == "$against" ]] || fail "next of another plan" "$against" "$out"
expect_line '^  it is +(cp [0-9]+ )?pp [0-9]+ ep [0-9]+ zero ' explain a.json --next
grep -q '^What each choice of the other plan is worth (Shapley):$' <<<"$out" || fail "next" "choices" "$out"
expect_line "^  of the other plan +$(time_of 2)\$" explain best.json --next
grep -qE "^  step time +$(time_of 1)\$" <<<"$out" || fail "best plan" "$(time_of 1)" "$out"

# A job: its own time, the best plan, the change that gains most; what is not read is named.
run export a.json --to megatron --out job.txt
echo '--frobnicate --lr 1e-4' >>job.txt
job=(explain --from-megatron job.txt qwen3-30b-a3b h100-64)
expect_line '^  measured step time +3\.20 s$' "${job[@]}" --measured 3.2s
for line in "the job's step over it +\\+[0-9.]+ %" 'the change that gains most +[a-z].*' 'best plan of the search +(cp [0-9]+ )?pp .*' \
  'note: not read, since nobody here knows them: --frobnicate'; do
  grep -qE "^  $line\$" <<<"$out" || fail "job" "$line" "$out"
done
step=$("$orrery" explain a.json | grep '^  step time')
grep -qF -- "${step#  step time  }" <<<"$out" || fail "step of the job" "$step" "$out"
run "${job[@]}" --measured 3.2s --json
figure() { # KEY [NUMBER]: of the first so named, or another; times in seconds
  grep "\"$1\":" <<<"$out" | sed -n "${2:-1}p" |
    awk '{ gsub(/[",]/, ""); print $2 * ($3 == "ms" ? 1e-3 : $3 == "us" ? 1e-6 : 1) }' OFMT=%.17g
}
same() { # WHAT EXPECTED GOT: to what the text keeps of them
  awk "BEGIN { d = ($2) - ($3); exit !(d < 1e-6 && d > -1e-6) }" || fail "$1" "$2" "$3"
}
predicted=$(figure predicted) best=$(figure best_time)
same "error of the prediction" "$predicted / 3.2 - 1" "$(figure error)"
same "gap" "$predicted / $best - 1" "$(figure gap)"
same "what the best plan may take" "3.2 * $best / $predicted" "$(figure best_expected)"
same "gain of the best change" "$(figure step_time 2) / $predicted - 1" "$(figure best_change_gain)"
grep -q '"best_change": "overlap/dp_buckets true"' <<<"$out" || fail "best change" "overlap/dp_buckets" "$out"
changed=$(figure step_time 2)
make_plan e '{"schema": "strategy/1", "ep": 8, "zero_dense": 1, "zero_expert": 1, "recompute": "full",
  "overlap": {"dp_buckets": true}}'
run explain e.json --json
same "step of the best change" "$changed" "$(figure step_time)"
run explain best.json --json
same "step of the best plan" "$best" "$(figure step_time)"

# A job that cannot be: the rules with what was not read, and exit code 3; a job that cannot be read: exit code 2.
sed 's/--expert-model-parallel-size 8/--expert-model-parallel-size 48/' job.txt >bad.txt
run explain --from-megatron bad.txt qwen3-30b-a3b h100-64
[[ $code == 3 ]] || fail "exit code of a job that cannot be" 3 "$code"
grep -qE '^  ep +expected a divisor of 128 .* got 48 +ep 32 or 64$' <<<"$out" || fail "rules" "ep 32 or 64" "$out"
grep -q '^  note: not read, since nobody here knows them: --frobnicate$' <<<"$out" || fail "rules" "a note" "$out"
echo '--optimizer sgd' >>bad.txt
expect_error 2 'bad.txt:18: --optimizer: expected "adam", "muon" or "dist_muon", got "sgd"' \
  explain --from-megatron bad.txt qwen3-30b-a3b h100-64
expect_error 2 '--measured: expected a time above 0 such as "22.4s", got "soon"' "${job[@]}" --measured soon
expect_error 2 'explain: expected MODEL CLUSTER beside --from-megatron, got 1 files' explain --from-megatron job.txt a.json
platform=$repository/tests/data/platforms/two-leaves.xml
expect_error 2 "$platform: expected 8 hosts, got a platform without 4 of them: node4, node5, node6, node7
  hint: the platform has 4 hosts, such as node0; the key hosts says how nodes are named, \"h{node+1}\" where they count from one" "${job[@]}" --platform "$platform"
expect_error 2 'orrery: --platform requires --from-megatron
  hint: orrery --help, orrery VERB --help' explain a.json --platform "$platform"
expect_error 2 'explain: expected PLAN, got 2 files
  hint: MODEL CLUSTER stand beside --from-megatron ARGUMENTS' explain a.json b.json

finish
