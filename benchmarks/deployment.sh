#!/usr/bin/env bash
# All of the deployment section of RESULTS.md: cold start, export, bench, Triton, engine build.
#
#     benchmarks/deployment.sh WORK_FOLDER [MODEL]
#
# WORK_FOLDER must not hold an earlier export. Nothing else should run on the machine meanwhile.
# Needs the extras train, onnx, openvino, phantom, rtx and triton, and the wheel of a Triton server
# that .ci/run downloads.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:?a folder for the export and the tables is required}
model=${2:-default}
mkdir -p "$work"
scan="$work/phantom-384x448x72.nii.gz"
uptime | tee "$work/machine.txt"
python benchmarks/cold_predict.py "$scan" --model "$model" --repeats 7 | tee "$work/cold.md"
time python -m cmbnet export "$model" --all --trt --flavor rtx --triton "$work/triton" -o "$work/bundle" \
    2>&1 | tee "$work/export.txt"
python -m cmbnet bench "$scan" --model "$work/bundle" --json "$work/bench.json" --plot "$work/bench.png" \
    2>&1 | tee "$work/bench.txt"
python -m benchmarks.triton_throughput "$scan" "$work/triton" | tee "$work/triton.md"
python benchmarks/engine_build.py --preset paper | tee "$work/engine.md"
uptime | tee -a "$work/machine.txt"
