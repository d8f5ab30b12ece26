#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fits the factors of training to published runs and writes what the catalog ships: factors/training.json, one
# calibration for each device, and factors/memory.json. Takes a few minutes. The interval of predictions from tables alone
# that comes with the factors tools/derive_gpu_calibrations.py puts into the tables.
#
# Usage: tools/fit_calibrations.sh ORRERY RUNS_JSON [CATALOG]
set -euo pipefail
orrery=$1 runs=$2 catalog=${3:-catalog}

"$orrery" validate "$runs" --time --cross-validate --catalog "$catalog" \
    --factors-out "$catalog/calibration/factors/training.json"
"$orrery" validate "$runs" --memory --catalog "$catalog" \
    --memory-intervals-out "$catalog/calibration/factors/memory.json" > /dev/null
for table in "$catalog"/calibration/tables/*.json; do
    device=$(basename "$table" .json)
    # The software that most runs of a device's kind were published with.
    case $device in
        h100 | h200* | b200 | b300 | gb200 | gb300) framework=megatron-bridge ;;
        *) framework=megatron ;;
    esac
    "$orrery" calibrate --catalog "$catalog" --device "$device" --framework "$framework" \
        --out-calibration "$catalog/calibration/$device.json" > /dev/null
done
