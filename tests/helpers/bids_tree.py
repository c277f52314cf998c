"""A small BIDS data set of tiny scans, with all that may be wrong in one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cmbnet.io import write_nifti
from tests.helpers.tiny_scan import DOTS, tiny_scan


def describe(root: Path) -> Path:
    """Make the folder with its description."""
    root.mkdir(parents=True, exist_ok=True)
    content = {"Name": "Tiny heads", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(content))
    return root


def add_scan(root: Path, file: str, *, dots: int = 3, seed: int = 0) -> Path:
    """Write a tiny scan with this number of dots."""
    write_nifti(tiny_scan(DOTS[:dots], seed=seed), root / file, dtype=np.float32)
    return root / file


def bids_tree(root: Path) -> Path:
    """Six subjects.

    01 has two sessions; 02 has two runs, of which the second is empty of lesions, and a minIP;
    03 has no SWI; 04 has two echoes; 05 has a file that is no NIfTI; 06 is only noise.
    """
    describe(root)
    for n, session in enumerate(("a", "b")):
        file = f"sub-01/ses-{session}/anat/sub-01_ses-{session}_acq-SWI_T2starw.nii.gz"
        path = add_scan(root, file, dots=n + 2, seed=n)
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(
            json.dumps({"MagneticFieldStrength": 3, "EchoTime": 0.02, "Manufacturer": "Tiny"})
        )
    add_scan(root, "sub-02/swi/sub-02_run-1_swi.nii.gz", dots=1)
    add_scan(root, "sub-02/swi/sub-02_run-2_swi.nii.gz", dots=0)
    add_scan(root, "sub-02/swi/sub-02_run-1_minIP.nii.gz")
    add_scan(root, "sub-03/anat/sub-03_T1w.nii.gz")
    for echo in (1, 2):
        add_scan(root, f"sub-04/anat/sub-04_echo-{echo}_T2starw.nii.gz", dots=echo)
    (root / "sub-05/anat").mkdir(parents=True)
    (root / "sub-05/anat/sub-05_swi.nii.gz").write_bytes(b"this is no NIfTI file")
    noise = np.random.default_rng(0).random(tiny_scan().shape, np.float32)
    write_nifti(tiny_scan().with_data(noise), root / "sub-06/anat/sub-06_swi.nii", dtype=np.float32)
    (root / "participants.tsv").write_text(
        "participant_id\tage\tsite\tgroup\n"
        "sub-01\t70\tnorth\tpatient\nsub-02\t61\tsouth\tcontrol\nsub-06\t50\tsouth\tpatient\n"
    )
    return root
