#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/size_table.sh: lines per C++ file, folder by folder, and the largest file of each.
# Exit 1 when the sources break the sizes that we keep: median at most 130, p90 at most 400, none above 600.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

git -c safe.directory="$PWD" ls-files -z '*.h' '*.cpp' '*.cu' | xargs -0 -r wc -l |
  awk '$2 != "total" { folder = $2; sub("/.*", "", folder); print folder, $1, $2; print "all", $1, $2 }' |
  sort -k1,1 -k2,2n |
  awk '
    function row() {
      printf "%-12s %6d %7d %7d %5d %5d  %s\n", folder, n, sum, median(), p90(), size[n], largest
      if (folder == "all" && (median() > 130 || p90() > 400 || size[n] > 600)) too_large = 1
    }
    function rank(p) { return int(p * n + 0.999999) }
    function median() { return size[rank(0.5)] }
    function p90() { return size[rank(0.9)] }
    BEGIN { printf "%-12s %6s %7s %7s %5s %5s  %s\n", "folder", "files", "lines", "median", "p90", "max", "largest" }
    $1 != folder { if (n) row(); folder = $1; n = 0; sum = 0 }
    { size[++n] = $2; sum += $2; largest = $3 }
    END {
      if (n) row()
      if (too_large) print "expected over all: median at most 130, p90 at most 400, none above 600"
      exit too_large
    }'
