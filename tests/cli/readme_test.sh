#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# readme_test.sh REPOSITORY ORRERY [README]: runs the commands of the README as they stand there, with what is built.
#
# A command is a line "$ ./orrery ..." of a ```console block; blocks run in order, in one folder. Below a command
# stands its output: each line has to come in the real output, in this order, where "..." within a line stands for any
# text and a line of "..." alone for any lines. Numbers that depend on the machine are therefore written as "..." or
# stand in a block ```console run, whose commands only have to succeed. "# exits with 3" behind a command says so.
# `./orrery test` is left out, since it would run this test.
repository=$1
orrery=$2
readme=${3:-$repository/README.md}
[[ -e $readme ]] || { echo "skipped: there is no README.md yet"; exit 77; }
source "$(dirname "$0")/expect.sh"
ln -s "$repository/orrery" orrery
export ORRERY_NO_BUILD=1 ORRERY_PRESET
ORRERY_PRESET=$(basename "$(dirname "$(dirname "$orrery")")")
num_commands=0

# check_output COMMAND OUTPUT LINES...: LINES come in OUTPUT in order.
check_output() {
  local command=$1 output=$2 number=1 line pattern found
  shift 2
  for line in "$@"; do
    [[ $line == "..." || -z $line ]] && continue
    pattern=$(sed 's/[][\.*^$+?(){}|/]/\\&/g; s/\\\.\\\.\\\./.*/g' <<<"$line")
    found=$(tail -n "+$number" <<<"$output" | grep -nE -m 1 "^$pattern\$" | cut -d: -f1)
    [[ $found ]] || { fail "output of: $command" "$line" "$(tail -n "+$number" <<<"$output" | head -20)"; return; }
    number=$((number + found))
  done
}

run_command() {
  local block=$1 command=$2 wanted=0 output status
  shift 2
  [[ $command == "./orrery test"* ]] && return
  if [[ $command =~ (.*[^ ])\ *#\ exits\ with\ ([0-9]+)$ ]]; then
    command=${BASH_REMATCH[1]}
    wanted=${BASH_REMATCH[2]}
  fi
  num_commands=$((num_commands + 1))
  output=$(bash -c "$command" 2>"$errors")
  status=$?
  [[ $status == "$wanted" ]] || fail "exit code of: $command" "$wanted" "$status, $(<"$errors")"
  [[ $block == "console run" ]] || check_output "$command" "$output" "$@"
}

block=
command=
expected=()
flush() {
  [[ $command ]] && run_command "$block" "$command" "${expected[@]}"
  command=
  expected=()
}
while IFS= read -r line <&3; do
  case $line in
    '```console'*) block=${line#'```'} ;;
    '```'*) flush && block= ;;
    '$ '*) [[ $block ]] && { flush; command=${line#'$ '}; } ;;
    *) [[ $command ]] && expected+=("$line") ;;
  esac
done 3<"$readme"

((num_commands > 0)) || fail "$readme" "at least one command in a console block" "none"
echo "$num_commands commands"
finish
