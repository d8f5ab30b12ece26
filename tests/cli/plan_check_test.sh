#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# plan_check_test.sh REPOSITORY ORRERY: the rules that a strategy breaks, what would obey them, and whether it fits.
repository=$1
orrery=$2
source "$(dirname "$0")/expect.sh"
check=(plan deepseek-v3 h800-2048 --sequence 4096 --global-batch 15360 --check)

printf '{"schema": "strategy/1", "pp": 16, "ep": 64, "zero_dense": 1, "zero_expert": 1, "recompute": "full"}\n' >good.json
expect_line '^  legal +yes$' "${check[@]}" good.json
expect_line '^  fits +yes$' "${check[@]}" good.json

# Every rule at once, one stage after the other as one.
printf '{"schema": "strategy/1", "tp": 3, "pp": 16, "ep": 48, "recompute": ["moe", "moe_act"]}\n' >bad.json
run "${check[@]}" bad.json
[[ $code == 3 && -z $err ]] || fail "exit code of a broken rule" 3 "$code, $err"
for line in 'pp +expected tp \* cp \* pp to be a divisor of 2048 \(number of devices\), got 48 +tp 2 with sp or 4 with sp' \
  'ep +expected a divisor of 256 \(number of experts\), got 48 +ep 32 or 64' \
  'tp +expected a divisor of 128 \(attention heads\), got 3 +tp 2 with sp or 4 with sp' \
  'stages/0/recompute to stages/15/recompute +expected no moe_act: moe recomputes it already +recompute without moe; recompute without moe_act'; do
  grep -qE "^  $line\$" <<<"$out" || fail "broken rules" "$line" "$out"
done
run "${check[@]}" bad.json --json
[[ $code == 3 && $out == *'"fits": null'*'"nearest": "ep 32 or 64"'* ]] || fail "JSON" "the same" "$code, $out"

# More stages than the model can have hide no other rule.
printf '{"schema": "strategy/1", "tp": 3, "pp": 16, "ep": 6, "vpp": 5, "recompute": ["moe", "moe_act"]}\n' >stages.json
run plan mixtral-8x7b h800-2048 --sequence 4096 --global-batch 15360 --check stages.json
[[ $code == 3 && -z $err ]] || fail "exit code of too many stages" 3 "$code, $err"
for line in 'pp +expected at most 34 stages \(pp \* vpp\), one for each layer, for the embedding and for the head, got 80 +pp 6; vpp 2' \
  'pp +expected tp \* cp \* pp to be a divisor of 2048 \(number of devices\), got 48 +tp 2 with sp or 4 with sp' \
  'pp +expected etp \* ep \* pp to be a divisor of 2048 \(number of devices\), got 96 +ep 4 or 8' \
  'ep +expected a divisor of 8 \(number of experts\), got 6 +ep 4 or 8' \
  'tp +expected a divisor of 32 \(attention heads\), got 3 +tp 2 with sp or 4 with sp' \
  'schedule +expected 1 chunk per rank, got 5 +schedule "interleaved"; vpp 1' \
  'stages/0/recompute to stages/33/recompute +expected no moe_act: moe recomputes it already +recompute without moe; recompute without moe_act'; do
  grep -qE "^  $line\$" <<<"$out" || fail "rules beside too many stages" "$line" "$out"
done
grep -qF 'note: what other rules say is known once tp * cp * pp and etp * ep * pp divide the devices' <<<"$out" ||
  fail "rules that cannot be asked" "a note" "$out"

# A degree that follows from the rest is stated wrongly: the rule that orrery fit knows, too.
printf '{"schema": "strategy/1", "ep": 8, "dp": 7}\n' >dp.json
run plan mixtral-8x7b h100-64 --sequence 4096 --global-batch 512 --check dp.json
[[ $code == 3 ]] || fail "exit code of a wrong dp" 3 "$code"
grep -qE '^  dp +expected 64 \(devices / \(tp \* cp \* pp\)\), got 7 +dp 64 or none$' <<<"$out" || fail "a wrong dp" "a row" "$out"
printf '{"schema": "strategy/1", "pp": 4, "ep": 8, "dp": 16, "zero_dense": 1, "zero_expert": 1}\n' >dp.json
run plan mixtral-8x7b h100-64 --sequence 4096 --global-batch 512 --check dp.json
grep -qE '^  legal +yes$' <<<"$out" || fail "a dp that is right" "legal yes" "$out"

# Legal, and too large.
printf '{"schema": "strategy/1", "pp": 16, "ep": 64, "zero_dense": 1, "zero_expert": 1}\n' >large.json
run "${check[@]}" large.json
[[ $code == 3 ]] || fail "exit code of what does not fit" 3 "$code"
grep -qE '^  note: pipeline rank [0-9]+ needs [0-9.]+ GiB, device has 79.2 GiB$' <<<"$out" || fail "verdict" "a note" "$out"
grep -q '^Single changes that make it fit, cheapest first:$' <<<"$out" || fail "remedies" "single changes" "$out"

# Two wrong factors of one product, and a layout with a hole: what would be legal.
printf '{"schema": "strategy/1", "tp": 3, "pp": 7, "ep": 48}\n' >two.json
run "${check[@]}" two.json
for line in 'pp +expected tp \* cp \* pp to be a divisor of 2048 \(number of devices\), got 21 +pp 8 and tp [24] with sp' \
  'ep +expected a divisor of 256 \(number of experts\), got 48 +ep 32 or 64'; do
  grep -qE "^  $line\$" <<<"$out" || fail "two wrong factors" "$line" "$out"
done
! grep -q 'no single change' <<<"$out" || fail "two wrong factors" "a pair for each" "$out"
printf '{"schema": "strategy/1", "ep": 8, "stages": [{"first_layer": 1, "num_layers": 60, "embedding": true, "head": true}]}\n' >hole.json
run "${check[@]}" hole.json
grep -qE '^  stages/0/first_layer +expected 0 \(layers in order, each once\), got 1 +stages "Et\*61L"$' <<<"$out" ||
  fail "a layout with a hole" "a layout" "$out"

# What only a search reads has no place beside it.
for of_search in '--calibration h100' '--strategy good.json' '--precision bf16' '--out best.json' '--top 3' \
  '--time-budget 1' '--no-simulation'; do
  read -ra words <<<"$of_search"
  expect_error 2 "orrery: --check excludes ${words[0]}
  hint: orrery --help, orrery VERB --help" "${check[@]}" good.json "${words[@]}"
done

# What is no strategy is still bad input.
printf '{"schema": "strategy/1", "epp": 2}\n' >key.json
expect_error 2 'key.json:1: /epp: unknown key; did you mean "pp"?' "${check[@]}" key.json

finish
