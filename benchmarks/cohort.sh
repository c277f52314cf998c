#!/usr/bin/env bash
# A phantom cohort that a model is measured on: made, predicted and scored.
#
#     benchmarks/cohort.sh WORK_FOLDER [MODEL] [quick|paper-shaped|ood]
#
#   quick         30 positives,  20 controls: minutes
#   paper-shaped  72 positives,  90 controls: the test cohort and the controls of Fan et al. 2022
#   ood           40 positives,  30 controls: gaps between the slices, which no training scan has
#
# A head each; seeds, heads and protocol families that neither training nor validation has seen.
# Nothing is chosen by any of them.
set -euo pipefail
work=${1:?a folder for the cohort and its scores is required}
model=${2:-default}
cohort=${3:-quick}
case $cohort in
    quick) plan="--positives 30 --negatives 20 --seed 6 --protocols test" ;;
    paper-shaped) plan="--positives 72 --negatives 90 --seed 7 --protocols test" ;;
    ood) plan="--positives 40 --negatives 30 --seed 8 --protocols ood" ;;
    *)
        echo "quick, paper-shaped or ood is required, got $cohort" >&2
        exit 2
        ;;
esac
# shellcheck disable=SC2086  # the plan is a list of words
cmbnet phantom -o "$work/test" $plan --cases-per-head 1 --jobs 2
score() { # folder of the predictions, folder of the scores, operating point
    cmbnet predict "$work/test/images" -o "$work/$1" --model "$model" --operating-point "$3" \
        --save-probability --jobs 2
    cmbnet evaluate --pred "$work/$1" --truth "$work/test/lesions" --ignore "$work/test/ignore" \
        --manifest "$work/test/cases.csv" -o "$work/$2"
}
score predicted scores default
# A ROC curve ranks lesions against false ones: it needs the candidates that `default` removes.
score predicted-sensitive curves sensitive
