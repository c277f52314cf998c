#!/usr/bin/env bash
# One worker of train.sbatch: tells TensorFlow who the workers are and which of them this one is.
set -euo pipefail
# shellcheck disable=SC2086  # the hosts are a list of words
workers=$(printf '"%s:'"$CMBNET_PORT"'",' $CMBNET_HOSTS)
export TF_CONFIG="{\"cluster\": {\"worker\": [${workers%,}]},
                   \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
exec cmbnet train "$@"
