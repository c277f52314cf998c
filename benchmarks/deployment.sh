#!/usr/bin/env bash
# All of the deployment section of RESULTS.md: cold start, export, bench, Triton, engine build.
#
#     benchmarks/deployment.sh WORK_FOLDER [MODEL [EXPORT_OPTION ...]]
#
# WORK_FOLDER must not hold an earlier export. Nothing else should run on the machine meanwhile.
# Needs the extras train, onnx, openvino, phantom, rtx and triton, and the wheel of a Triton server
# that .ci/run downloads. A part that fails is named at the end, and the others run all the same.
#
# Whether every part runs to its end is tried in minutes with a small scan that is there already,
# as WORK_FOLDER/phantom-384x448x72.nii.gz, and
#
#     REPEATS=1 PRESET=small benchmarks/deployment.sh WORK_FOLDER default \
#         --parity-cases 1 --calibrations 1 --allow-parity-failure
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
work=${1:?a folder for the export and the tables is required}
model=${2:-default}
shift $(($# < 2 ? $# : 2))
mkdir -p "$work" || exit 1
scan="$work/phantom-384x448x72.nii.gz"
failed=()

# part FILE COMMAND ...: what it prints goes to a file too, what it complains of to errors.txt.
part() {
    local file=$1
    shift
    printf '\n== %s: %s\n' "$file" "$*"
    local start=$SECONDS
    if ! "$@" 2> >(tee -a "$work/errors.txt" >&2) | tee "$work/$file"; then
        failed+=("$file")
        printf 'FAILED: %s\n' "$file" >&2
    fi
    printf '%s took %d s\n' "$file" $((SECONDS - start))
}

part machine.txt uptime
part cold.md python benchmarks/cold_predict.py "$scan" --model "$model" --repeats "${REPEATS:-7}"
part export.txt python -m cmbnet export "$model" --all --trt --flavor rtx \
    --triton "$work/triton" -o "$work/bundle" "$@"
if [[ ! -d $work/triton ]]; then # the gate failed: what passed it is served all the same
    part repository.txt python -m cmbnet export "$work/bundle" --triton "$work/triton"
fi
part bench.txt python -m cmbnet bench "$scan" --model "$work/bundle" \
    --json "$work/bench.json" --plot "$work/bench.png"
# As deploy/triton/Dockerfile sets it.
part triton.md env OPENBLAS_NUM_THREADS=1 python -m benchmarks.triton_throughput "$scan" "$work/triton"
part engine.md python benchmarks/engine_build.py --preset "${PRESET:-paper}"
part machine_after.txt uptime
if ((${#failed[@]})); then
    printf '\nfailed: %s\n' "${failed[*]}" >&2
    exit 1
fi
