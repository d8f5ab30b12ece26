#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# includes_test.sh REPOSITORY: the #include lines of every folder against the two tables of docs/design/layers.md.
# Prints each line that breaks a table as file:line and exits 1 when there is one.
set -euo pipefail
cd "$1"
page=docs/design/layers.md
failures=0

# table HEADING: the first two columns of the table under that heading, as "first|second", without backquotes.
table() {
  awk -F '|' -v heading="| $1 " 'index($0, heading) == 1 { inside = 1; getline; next }
                                 !/^\|/ { inside = 0 }
                                 inside { gsub(/[` ]+/, " "); print $2 "|" $3 }' "$page"
}

report() {
  while IFS= read -r line; do
    printf '%s: %s\n' "$line" "$1"
    failures=$((failures + 1))
  done
}

mapfile -t rows < <(table folder)
((${#rows[@]} >= 8)) || { echo "$page: expected a table of at least 8 folders, got ${#rows[@]}"; exit 1; }
folders=$(printf '%s\n' "${rows[@]%%|*}" | xargs | tr ' ' '|')

for row in "${rows[@]}"; do
  read -r folder <<<"${row%%|*}"
  allowed=$(xargs <<<"$folder ${row#*|}" | tr ' ' '|')
  report "$folder may not include this (docs/design/layers.md)" < <(
    grep -rnE --include='*.h' --include='*.cpp' --include='*.cu' "^ *# *include \"($folders)/" "$folder" |
      grep -vE "include \"($allowed)/")
done

while IFS='|' read -r header exception; do
  read -r header <<<"$header"
  read -r exception <<<"$exception" || true
  report "$header is for .cpp files (docs/design/layers.md)" < <(
    grep -rnE --include='*.h' "^ *# *include [<\"]$header" ${folders//|/ } | grep -v "${exception:-no exception}:")
done < <(table header)

((failures == 0)) || exit 1
echo "the includes of ${folders//|/, } agree with $page"
