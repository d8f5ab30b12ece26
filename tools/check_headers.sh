#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compiles headers of the house alone, so that none depends on what is included before it. A header that a source includes
# first is compiled alone by the build already; here come the others.
#
# Usage: tools/check_headers.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rooms=(base program traces costmodel executor sim planner cli)

first_includes() { find "${rooms[@]}" -name '*.cpp' -exec grep -m1 -h '^#include' {} \; | sed -n 's/^#include "\(.*\)"$/\1/p'; }

mapfile -t alone < <(comm -23 <(find "${rooms[@]}" -name '*.h' | sort) <(first_includes | sort -u))
export compiler=${CXX:-c++}
printf '%s\n' "${alone[@]}" | xargs -P "$(nproc)" -I{} \
  bash -c '"$compiler" -std=c++20 -I . -x c++ -fsyntax-only - <<<"#include \"{}\""'
echo "${#alone[@]} headers that no source includes first compile alone"
