#!/usr/bin/env bash
# The whole path of training in minutes, on phantoms of a toy anatomy: phantom, check-data, prepare,
# train, kill -9 and resume to the same curve, bundle, calibrate, card, predict, evaluate.
#
#     training/smoke.sh [WORK_FOLDER]      (a temporary one by default; `make train-smoke`)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-}
if [ -z "$work" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi
export TF_CPP_MIN_LOG_LEVEL=2
spec=$here/../data_specs/phantom.yaml
recipe=$here/recipes/smoke.yaml

step() { echo "== $* ($SECONDS s)"; }

step phantom
for part in "train 6 3 1" "validation 3 2 2" "test 3 2 3"; do
    read -r name positives negatives seed <<<"$part"
    cmbnet phantom -o "$work/$name" --positives "$positives" --negatives "$negatives" \
        --seed "$seed" --anatomy procedural --lesions 4 8 --jobs 2
done

step check-data
cmbnet check-data "$spec" --root "$work/train"

step prepare
for name in train validation; do
    cmbnet prepare "$spec" --root "$work/$name" -o "$work/cache/$name" --recipe "$recipe" --jobs 2
done

train=(cmbnet train "$recipe" --data "$work/cache/train" --validation "$work/cache/validation")

step "train, without a break"
"${train[@]}" -o "$work/whole"

step "train, kill -9 in the second epoch, resume"
"${train[@]}" -o "$work/run" &
victim=$!
until [ -f "$work/run/log.csv" ]; do
    kill -0 "$victim" || { echo "training ended before its first epoch" >&2; exit 1; }
    sleep 0.2
done
kill -9 "$victim"
wait "$victim" 2>/dev/null || true
[ "$(wc -l <"$work/run/log.csv")" -lt "$(wc -l <"$work/whole/log.csv")" ] || {
    echo "the kill came too late" >&2
    exit 1
}
"${train[@]}" -o "$work/run"
# Times differ; losses and scores may not.
curve() { python3 -c 'import csv, sys
for row in csv.DictReader(open(sys.argv[1])):
    print({k: v for k, v in row.items() if k not in ("time_s", "crops_per_s")})' "$1/log.csv"; }
diff <(curve "$work/whole") <(curve "$work/run")

step bundle # a network of ninety steps need not pass the gate, but the gate has to run
cmbnet export "$work/run" -o "$work/bundle" --validation "$work/validation" \
    --cache "$work/cache/train" --name smoke --anatomy procedural --parity-cases 1 \
    --calibrations 1 --allow-parity-failure --data-kind phantoms --licence Apache-2.0

step calibrate
cmbnet calibrate "$work/bundle" --data "$work/validation" --data-kind phantoms \
    -o "$work/calibrated"

step "predict, evaluate, card"
cmbnet predict "$work/test/images" -o "$work/predicted" --model "$work/calibrated"
cmbnet evaluate --pred "$work/predicted" --truth "$work/test/lesions" \
    --ignore "$work/test/ignore" --manifest "$work/test/cases.csv" -o "$work/scores" \
    --resamples 500 --no-figures --data-kind phantoms
cmbnet card "$work/calibrated" --results "$work/scores/results.json" -o "$work/card.md"
grep -q "Research use only" "$work/card.md"
grep -q "Thresholds were chosen on [0-9]* other scans" "$work/card.md"
python3 - "$work/scores/results.json" <<'PYTHON'
import json, sys
cohort = json.load(open(sys.argv[1]))["cohort"]
assert cohort["scans"] == 5 and cohort["missing_predictions"] == 0, cohort
PYTHON
step done
