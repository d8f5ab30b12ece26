# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests of the command line: runs `orrery` in a folder of its own and compares what it says.
# Needs $orrery, the binary, and $repository. Ends with `finish`.
set -uo pipefail
export ORRERY_CATALOG=$repository/catalog
sandbox=$(mktemp -d)
trap 'rm -rf "$sandbox"' EXIT
errors=$sandbox/stderr
mkdir "$sandbox/files"
cd "$sandbox/files" || exit 1
failures=0

fail() {
  printf 'FAILED: %s\n  expected: %s\n  got:      %s\n' "$1" "$2" "$3"
  failures=$((failures + 1))
}

# run ARGS: leaves $code, $out, $err.
run() {
  out=$("$orrery" "$@" 2>"$errors")
  code=$?
  err=$(<"$errors")
}

# expect_error CODE MESSAGE ARGS: the whole message on stderr, progress lines aside; nothing on stdout; no new file.
expect_error() {
  local wanted_code=$1 wanted=$2 before after
  shift 2
  before=$(ls -A)
  run "$@"
  after=$(ls -A)
  local got
  got=$(grep -vE '^orrery: [a-z]+: [0-9]+ done(, [0-9]+ evaluated, .*)?$' <<<"$err")
  [[ $code == "$wanted_code" ]] || fail "exit code of: $*" "$wanted_code" "$code"
  [[ $got == "$wanted" ]] || fail "message of: $*" "$wanted" "$got"
  [[ -z $out ]] || fail "output of: $*" "nothing" "$out"
  [[ $after == "$before" ]] || fail "files after: $*" "$before" "$after"
}

# expect_line PATTERN ARGS: exit code 0 and a line of stdout that matches the extended regular expression.
expect_line() {
  local pattern=$1
  shift
  run "$@"
  [[ $code == 0 ]] || fail "exit code of: $*" "0" "$code, $err"
  grep -qE "$pattern" <<<"$out" || fail "output of: $*" "$pattern" "$out"
}

# expect_also PATTERN: the last command printed such a line as well.
expect_also() {
  grep -qE "$1" <<<"$out" || fail "output of the last command" "$1" "$out"
}

finish() {
  ((failures == 0)) || exit 1
  echo "passed"
}
