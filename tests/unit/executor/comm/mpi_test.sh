#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mpi_test.sh BINARY [ARGS]: runs a test executable as four processes of one MPI job on this machine.
# Exit 77 (skipped) where there is no mpirun, or the build has no MPI and so no executable.
[[ -x $1 ]] || { echo "skipped: $1 is not built, since MPI was not found: apt-get install libopenmpi-dev"; exit 77; }
command -v mpirun >/dev/null || { echo "skipped: there is no mpirun: apt-get install openmpi-bin"; exit 77; }
# Open MPI leaks in plugins that it has unloaded, which cannot be suppressed by name.
export ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-}
exec mpirun --allow-run-as-root --oversubscribe --bind-to none -n 4 "$@"
