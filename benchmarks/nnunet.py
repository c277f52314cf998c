"""The 2D network of nnU-Net v2 beside that of cmbnet on the CPU, in turns.

    python benchmarks/nnunet.py PYTHON [--slices 4] [--rounds 3] [--scan SCAN.nii.gz]

PYTHON is that of an environment with torch and nnunetv2. nnU-Net plans for scans of 384 x 448 x 72
voxels of 0.5 x 0.5 x 2 mm, has random weights, and looks at whole slices, one at a time, without
mirroring. cmbnet looks at crops of 384 x 384 by its default backend, as in a case. Only the
networks are timed. Prints a slice's time of both, the least of the rounds, and their ratio. With
--scan, a cold `cmbnet predict` of it takes its turn, too, beside 72 slices of nnU-Net's network.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cmbnet.backends import open_backend
from cmbnet.backends.probe import probe_stack
from cmbnet.bundle import load_bundle
from cmbnet.threads import processors

NNUNET = """
import json, os, sys, tempfile, time
from pathlib import Path
root = Path(tempfile.mkdtemp())
for part in ("raw", "preprocessed", "results"):
    os.environ["nnUNet_" + part] = str(root / part)
data, made = root / "raw" / "Dataset001_Heads", root / "preprocessed" / "Dataset001_Heads"
for folder in (data / "imagesTr", data / "labelsTr", made):
    folder.mkdir(parents=True)
for number in range(20):
    (data / "imagesTr" / f"c{number:02d}_0000.nii.gz").touch()
    (data / "labelsTr" / f"c{number:02d}.nii.gz").touch()
(data / "dataset.json").write_text(json.dumps({
    "channel_names": {"0": "MRI"}, "labels": {"background": 0, "lesion": 1}, "numTraining": 20,
    "file_ending": ".nii.gz", "overwrite_image_reader_writer": "SimpleITKIO"}))
statistics = dict.fromkeys(
    ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)
(made / "dataset_fingerprint.json").write_text(json.dumps({
    "spacings": [[2.0, 0.5, 0.5]] * 20, "shapes_after_crop": [[72, 448, 384]] * 20,
    "foreground_intensity_properties_per_channel": {"0": statistics},
    "median_relative_size_after_cropping": 1.0}))
import torch
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
    ExperimentPlanner)
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
torch.set_num_threads(int(sys.argv[1]))
plan = ExperimentPlanner(1).plan_experiment()["configurations"]["2d"]
shape = plan["architecture"]
network = get_network_from_plans(
    shape["network_class_name"], shape["arch_kwargs"], shape["_kw_requires_import"], 1, 2,
    deep_supervision=False).eval()
slices = torch.rand(int(sys.argv[2]), 1, *plan["patch_size"])
print("ready", plan["patch_size"], sum(p.numel() for p in network.parameters()), flush=True)
with torch.inference_mode():
    for _ in sys.stdin:
        start = time.perf_counter()
        for one in slices:
            network(one[None])
        print("took", time.perf_counter() - start, flush=True)
"""


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scan", type=Path)
    args = parser.parse_args()
    backend = open_backend(load_bundle())
    stacks = np.repeat(probe_stack(backend.shapes[-1]), args.slices, axis=0)
    backend.predict(stacks)
    command = [args.python, "-c", NNUNET, str(processors()), str(args.slices)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None

        def answer(word: str) -> str:
            """The next line that begins with a word; nnU-Net prints much else."""
            assert other.stdout is not None
            for line in other.stdout:
                if line.startswith(word):
                    return line.removeprefix(word).strip()
            raise SystemExit("nnU-Net ended before its time")

        print(f"nnU-Net 2d: patch and parameters {answer('ready')}; {backend.info}")
        theirs, ours, cold = [], [], []
        for _ in range(args.rounds + 1):
            other.stdin.write("\n")
            other.stdin.flush()
            theirs.append(float(answer("took")) / args.slices)
            start = time.perf_counter()
            backend.predict(stacks)
            ours.append((time.perf_counter() - start) / args.slices)
            if args.scan:
                cold.append(cold_s(args.scan))
        other.stdin.close()
    theirs, ours = theirs[1:], ours[1:]  # the first round warms up
    ratios = sorted(a / b for a, b in zip(theirs, ours, strict=True))
    print(
        f"nnU-Net {1e3 * min(theirs):.0f} ms a slice, cmbnet {1e3 * min(ours):.1f} ms: "
        f"{min(theirs) / min(ours):.0f} times; by round {ratios[0]:.0f} to {ratios[-1]:.0f}"
    )
    if cold:
        ratio = 72 * min(theirs) / min(cold[1:])
        print(f"72 slices of nnU-Net against a cold case: {ratio:.0f} times")


def cold_s(scan: Path) -> float:
    """Wall time of a cold `cmbnet predict`, s."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cmbnet", "predict", str(scan), "-o", folder]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
