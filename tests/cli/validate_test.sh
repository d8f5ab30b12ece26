#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# validate_test.sh REPOSITORY ORRERY: `validate` of runs, of curves of collectives and of calibrations. 13 rows of
# published runs stand for all; one of them, 256 GPUs of xtuner, takes most of the time and is left out of the fits.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
runs=$repository/tests/data/runs/published.json

# Without an option time and memory in one report: errors by group, outcomes, and what is not modelled by its reason,
# by name in the lines.
expect_line '^  runs +13$' validate "$runs" --runs-out both.jsonl
expect_also '^Step times against published runs$'
expect_also '^Memory against published runs$'
expect_also '^  nanotron +all +[0-9]+ +0 +0 +[0-9]+ +[0-9]+ +100\.0 % +100\.0 %$'
expect_also '^  task: lora +1 +bridge-285e9ead$'
[[ $(grep -c '"fitted_s"' both.jsonl) == 11 && $(grep -c '"predicted_bytes"' both.jsonl) -gt 5 ]] || fail "both" "lines" "$(cat both.jsonl)"
grep -q '^{"run":"bridge-285e9ead","not_modelled":"memory","reason":"task: lora"}$' both.jsonl || fail "both" "a reason" "$(cat both.jsonl)"
expect_line '^  simumax +mem_alloc_gib +[0-9]+ +0 +0\.[0-9] % ' validate "$runs" --memory
expect_error 2 '--plot: expected --time, whose results it writes' validate "$runs" --memory --plot early.svg

# --time: every run that ran is predicted, from tables and with the catalog's factors; files on request.
expect_line '^  predicted +11$' validate "$runs" --time --runs-out runs.jsonl --plot runs.svg
expect_also '^  simumax +B200 +MoE +1 +0 '
[[ $(grep -c '^{"run":"[^"]*","measured_s":[0-9.]*,"zero_fit_s":[0-9.]*,"fitted_s":[0-9.]*}$' runs.jsonl) == 11 ]] ||
  fail "runs" "11 lines" "$(cat runs.jsonl)"
[[ $(grep -c '<circle cx="[0-9.]*" cy="[0-9.]*" r="2.6"' runs.svg) == 11 ]] || fail "plot" "11 points" "$(head -3 runs.svg)"
expect_error 2 '--factors-out: expected --cross-validate too, which makes the fit' \
  validate "$runs" --time --factors-out factors.json --runs-out early.jsonl
[[ ! -e early.jsonl ]] || fail "a refusal" "no file" "early.jsonl"

# Rows that break in one way each, and sets of few rows. A figure that nobody can measure breaks its row alone.
python3 - "$runs" <<'END'
import copy, json, sys

file = json.load(open(sys.argv[1]))
rows = [run for run in file["runs"] if run["gpus"] < 256 or run["model"] == "llama-inline"]


def write(name, rows):
    json.dump(file | {"runs": rows}, open(name, "w"), indent=1)


def ran(rows, key=None):
    return [run for run in rows if "outcome" not in run["measured"] and (key is None or key in run["measured"])]


write("few.json", rows)
write("one-row.json", ran(rows)[2:3])
json.dump(file | {"runs": []}, open("no-rows.json", "w"))

broken = copy.deepcopy(rows)
first, second, third = ran(broken)[:3]
first["gpu"] = second["gpu"] = "L40S"
third["micro_batch"] = float("nan")
write("broken.json", broken)

zero = copy.deepcopy(rows)
still, empty = ran(zero, "step_s")[:2]
still["measured"]["step_s"] = 0
empty["measured"] = {"tokens_per_s_per_gpu": 0, "mem_gib": 0}
write("zero.json", zero)
print(*(run["id"] for run in (first, second, third, still, empty)), file=open("ids", "w"))
END
read -r first second third still empty <ids
expect_line '^  predicted +7$' validate broken.json --time --runs-out broken.jsonl
expect_also '^  [a-z_0-9]+ +L40S +[a-zA-Z]+ +0 +[12] +- +- +- '
expect_also "^  no calibration of L40S +2 +$first $second$"
expect_also "^  micro_batch is NaN +1 +$third$"
expect_line "\"ids\": \"$first $second\"" validate broken.json --time --json
expect_also '"zero_fit_mean": 0\.[0-9]+'
expect_also '"group": "simumax"'
expect_line '"group": "simumax"' validate few.json --json  # time and memory
expect_also '"zero_fit_mean": 0\.[0-9]+'
expect_also '"figure": "mem_alloc_gib"'
grep -q "^{\"run\":\"$second\",\"not_modelled\":\"time\",\"reason\":\"no calibration of L40S\"}$" broken.jsonl || fail "broken" "a reason" "$(cat broken.jsonl)"
expect_line "^  measured/step_s: expected a number from 1e-05 to 1000000, got 0 +1 +$still$" validate zero.json
expect_also "^  measured/tokens_per_s_per_gpu: .* got 0, measured/mem_gib: .* got 0 +1 +$empty$"
expect_line "^  [a-z0-9_]+ +mem_gib +0 +1 +- +- +- +100\\.0 % +- +- +-$" validate zero.json --memory
expect_error 2 'no-rows.json:1: /runs: expected at least one run, got none' validate no-rows.json

# --time --cross-validate: means, medians and biases of three predictors, the share in intervals and their width;
# scores of the intervals, of one constant width held out as well and of one that has seen all errors.
expect_line '^  simumax +B200 +MoE +1 +0( +[0-9.]+ % +[0-9.]+ % +[+-][0-9.]+ %){3} +[0-9.]+ % +[0-9.]+ % +[0-9.]+$' \
  validate few.json --time --cross-validate
expect_also '^  zero-fit +10 +0\.[0-9]+ +1\.[0-9]+$'
for label in 'interval score' 'of a constant width, held out as well' 'of one that has seen all errors'; do
  expect_also "^  $label +[0-9.]+$"
done
expect_line '"predicted": 8,' validate zero.json --time --cross-validate --json
expect_also '"cross_mean": [0-9]'
expect_also '"interval_score": [0-9.]*,'
# One row alone: nothing of other cells says how sure a prediction of it is.
expect_line '"coverage": null' validate one-row.json --time --cross-validate --json
expect_also '"width_over_error": null'
expect_also '"interval_score": null'

# --memory --cross-validate: the preset's fragmentation beside that of the folds.
made_up=$repository/tests/data/runs/made-up.json
expect_line '^  nanotron +all +- +by fold +4 +0 +2 +2 +100\.0 % +100\.0 % +100\.0 % +100\.0 %$' \
  validate "$made_up" --cross-validate
expect_also '^  nanotron +2,048 +2 +0\.3[0-9]* '
expect_also "^  note: nanotron: the preset's fragmentation is 0\.15, the folds' 0\.2[0-9]* to 0\.3[0-9]*$"
expect_line '"fitted_on": 2' validate "$made_up" --cross-validate --json

# --collectives: each point by what up to 64 MiB on one or two nodes tells.
curves=$repository/tests/data/collectives/curves.json
expect_line '^  all_to_all +[0-9]+ +[0-9.]+ % ' validate --collectives "$curves" --runs-out points.jsonl
expect_also '^ +8 +DeepEP low-latency .* go around NVLink +12$'
[[ $(grep -c '"predicted_s":' points.jsonl) == 138 ]] || fail "points" "138" "$(wc -l points.jsonl)"
echo '{"schema_version": 1}' >no-entries.json
expect_error 2 'no-entries.json:1: expected the key "entries", which is missing' validate --collectives no-entries.json
echo '{"schema_version": 1, "entries": []}' >no-entries.json
expect_error 2 'no-entries.json:1: /entries: expected at least one entry with data, got none' validate --collectives no-entries.json

# A calibration: its own points judge the form and the table.
tables=$repository/catalog/calibration/tables
expect_line '^  gemm +fwd +bf16 +144 +[0-9.]+ % ' validate "$tables/b200.json"
expect_also '^  matmul +0\.5 +0\.[45][0-9]*$'
expect_line '"left_out_median": 0\.0[0-9]+' validate "$tables/b200.json" --json
expect_error 2 '/points: expected points to judge the kernels by, got none' validate "$tables/mi300x.json"

finish
