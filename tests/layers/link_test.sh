#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# link_test.sh BINARY LIBRARY: BINARY may not need LIBRARY, directly or through another library.
# Exit 77 (skipped) when the binary is not built.
set -euo pipefail
[[ -x $1 ]] || { echo "skipped: $1 is not built"; exit 77; }
if needed=$(ldd "$1" | grep "$2"); then
  printf '%s needs %s, see the link rule in docs/design/layers.md:\n%s\n' "$1" "$2" "$needed"
  exit 1
fi
echo "$1 does not need $2"
