#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mpi_symbol_test.sh ORRERY_RANK: its MPI_Init_thread is that of the MPI library, as the dynamic linker resolves it.
# Exit 77 (skipped) when the binary is not built, or without MPI.
set -euo pipefail
[[ -x $1 ]] || { echo "skipped: $1 is not built"; exit 77; }
nm -D --undefined-only "$1" | grep ' MPI_Init_thread$' >/dev/null || { echo "skipped: $1 is built without MPI"; exit 77; }
bindings=$(LD_DEBUG=bindings LD_BIND_NOW=1 "$1" 2>&1 | grep -F "binding file $1 " | grep -F "\`MPI_Init_thread'") || true
if ! grep -qE ' to [^ ]*/libmpi\.so[.0-9]* ' <<<"$bindings"; then
  printf 'expected MPI_Init_thread of libmpi, see the link rule in docs/design/layers.md; got:\n%s\n' "$bindings"
  exit 1
fi
echo "$1 has MPI_Init_thread of libmpi"
