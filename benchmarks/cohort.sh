#!/usr/bin/env bash
# A phantom cohort that a model is measured on: made, predicted and scored.
#
#     benchmarks/cohort.sh WORK_FOLDER [MODEL] [quick|paper-shaped|gaps|ood]
#
#   quick         30 positives,  20 controls: minutes
#   paper-shaped  72 positives,  90 controls: the test cohort and the controls of Fan et al. 2022
#   gaps          40 positives,  30 controls: thick slices with gaps, most of 2D acquisition
#   ood           40 positives,  30 controls: 1 T, 7 T or wide gaps, which no training scan has
#
# A head each; seeds, heads and protocol families that neither training nor validation has seen.
# Nothing is chosen by any of them.
set -euo pipefail
work=${1:?a folder for the cohort and its scores is required}
model=${2:-default}
cohort=${3:-quick}
case $cohort in
    quick) plan="--positives 30 --negatives 20 --seed 6 --protocols test" ;;
    paper-shaped) plan="--positives 72 --negatives 90 --seed 19 --protocols test" ;;
    gaps) plan="--positives 40 --negatives 30 --seed 20 --protocols gaps" ;;
    ood) plan="--positives 40 --negatives 30 --seed 21 --protocols ood" ;;
    *)
        echo "quick, paper-shaped, gaps or ood is required, got $cohort" >&2
        exit 2
        ;;
esac
# shellcheck disable=SC2086  # the plan is a list of words
cmbnet phantom -o "$work/test" $plan --cases-per-head 1 --jobs 2
cmbnet predict "$work/test/images" -o "$work/predicted" --model "$model" --save-probability --jobs 2
score() { # folder of the scores, what is scored
    cmbnet evaluate --truth "$work/test/lesions" --ignore "$work/test/ignore" \
        --manifest "$work/test/cases.csv" --data-kind phantoms -o "$work/$1" "${@:2}"
}
score scores --pred "$work/predicted"
# The paper's lesion ROC ranks lesions by mean probability. It needs false ones to rank against: all
# that the maps hold at a low threshold, before sizes, shapes and scores remove any.
score curves --probabilities "$work/predicted" --threshold 0.1
