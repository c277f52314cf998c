"""The examples of deploy/slurm run to their end; programs of the same names stand in for SLURM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cmbnet.bundle import Bundle
from tests.helpers.bids_tree import add_scan, describe

SLURM = Path(__file__).parents[2] / "deploy" / "slurm"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    root = describe(tmp_path / "raw")
    for n in range(3):
        add_scan(root, f"sub-{n}/anat/sub-{n}_swi.nii.gz", dots=n)
    return root


def put(program: Path, text: str) -> None:
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def masks(out: Path) -> list[str]:
    return sorted(path.name.split("_")[0] for path in out.glob("sub-*/anat/*_mask.nii.gz"))


def test_the_jobs_of_an_array_share_a_cohort(
    raw: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    put(tmp_path / "bin" / "cmbnet", f'exec {sys.executable} -m cmbnet "$@"')
    script, out = SLURM / "array.sh", tmp_path / "out"
    directives = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --array=1-20" in directives
    found = []
    for number in (1, 2):
        environment = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "1",
            "SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_MIN": "1",
            "SLURM_ARRAY_TASK_MAX": "2", "HOME": "/proc/nowhere",
        }  # fmt: skip
        done = subprocess.run(
            ["bash", script, raw, out, "--model", tiny_bundle.path],
            capture_output=True, text=True, timeout=300, env=os.environ | environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(masks(out))
    assert found == [["sub-0", "sub-2"], ["sub-0", "sub-1", "sub-2"]]


def test_workers_that_slurm_starts(raw: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    bin_, script = tmp_path / "bin", tmp_path / "script.sh"
    # What sbatch is given is run here at once, and scancel ends it.
    put(
        bin_ / "sbatch",
        f'cp "$1" {script}; setsid sh {script} >/dev/null 2>&1 &\n'
        f'echo $! >{tmp_path}/pid; echo "Submitted batch job 7"',
    )
    put(bin_ / "scancel", f"kill -9 -- -$(cat {tmp_path}/pid)")
    done = subprocess.run(
        [sys.executable, SLURM / "dask_cluster.py", raw, tmp_path / "out", "--model",
         tiny_bundle.path],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env=os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert masks(tmp_path / "out") == ["sub-0", "sub-1", "sub-2"]
    text = script.read_text()
    assert "#SBATCH --cpus-per-task=4" in text
    assert "--nthreads 4" in text
