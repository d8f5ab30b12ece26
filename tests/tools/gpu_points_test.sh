#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compiles the measurements of GPU kernels, if nvcc is there (else exit 77: skipped), and starts them, which on a machine
# without a GPU ends with a message. Usage: gpu_points_test.sh FOLDER
set -euo pipefail
folder=$1
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2> /dev/null || true)
if [[ -z $nvcc ]]; then
  echo "no nvcc: skipped"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$nvcc" -std=c++20 -O0 -arch=sm_90 -Werror all-warnings -o "$work/gpu_points" "$folder"/*.cu "$folder"/*.cpp -lcublasLt -ldl
status=0
"$work/gpu_points" 2> "$work/usage" || status=$?
[[ $status == 2 ]] && grep -q '^usage: gpu_points FILE \[NAME...\]$' "$work/usage"
