#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds and runs all measurements of this folder on this machine's GPU: run.sh FILE. Needs nvcc; attention needs
# PyTorch, and JAX for windows and fp8.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
file=${1:?usage: run.sh FILE}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nvcc -std=c++20 -O2 -arch=native --threads 0 -o "$work/gpu_points" "$here"/*.cu "$here"/*.cpp -lcublasLt -ldl
"$work/gpu_points" "$file"
python3 -c 'import torch' 2>/dev/null && python3 "$here/torch_points.py" "$file"
python3 -c 'import jax' 2>/dev/null && python3 "$here/jax_points.py" "$file"
nvidia-smi -q -d POWER,CLOCK,TEMPERATURE,PERFORMANCE | head -120
wc -l "$file"
