#!/usr/bin/env bash
# Build the TensorRT engines of a bundle, on the machine that will serve (data centre) or on any
# machine (workstations, TensorRT-RTX).
#   deploy/tensorrt/build_engine.sh rtx default /srv/cmbnet/bundle
#   deploy/tensorrt/build_engine.sh datacenter /srv/cmbnet/bundle /srv/cmbnet/engine
# Research use only. Not a medical device. Not for diagnosis.
set -euo pipefail

flavor="${1:?rtx or datacenter}"
bundle="${2:?folder of a bundle, or default}"
output="${3:?folder for the copy that gets the engines}"

case "$flavor" in
rtx) ;;
datacenter)
    # TensorRT's libraries are in NVIDIA's own index. cmbnet is in none: it comes from this checkout.
    checkout="$(realpath "$(dirname "$0")/../..")"
    python -m pip install --extra-index-url https://pypi.nvidia.com "${checkout}[tensorrt]"
    ;;
*)
    echo "the flavor must be rtx or datacenter, got $flavor" >&2
    exit 2
    ;;
esac

exec cmbnet export "$bundle" -o "$output" --trt --fp16 --int8 --flavor "$flavor"
