#!/usr/bin/env bash
# The phantom test cohort that the default model is measured on: made, predicted and scored.
#
#     benchmarks/cohort.sh WORK_FOLDER [MODEL]
#
# 30 positives and 20 controls, a head each; seeds, heads and protocols that neither training nor
# validation has seen. Nothing is chosen by it.
set -euo pipefail
work=${1:?a folder for the cohort and its scores is required}
model=${2:-default}
cmbnet phantom -o "$work/test" --positives 30 --negatives 20 --seed 3 --protocols test --cases-per-head 1 --jobs 2
cmbnet predict "$work/test/images" -o "$work/predicted" --model "$model"
cmbnet evaluate --pred "$work/predicted" --truth "$work/test/lesions" --ignore "$work/test/ignore" \
    --manifest "$work/test/cases.csv" -o "$work/scores"
