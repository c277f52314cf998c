"""What `cmbnet predict` answers on real scans that hold no known microbleeds.

    python benchmarks/real_brains.py [--data ../shared/data]

Each of these scans is an ordinary brain (or none at all): no reader has signed that off, so a
count here is a number of probable false alarms, and nothing can be said about sensitivity.
Prints a Markdown table: the verdict of the quality gate, the lesions at the default operating
point, and, where the gate refused, the lesions with ``--force``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cmbnet.backends import Backend, open_backend
from cmbnet.bundle import Bundle, load_bundle
from cmbnet.errors import CmbnetError, InputRefused
from cmbnet.predict import Request, predict_file

SCANS: tuple[tuple[str, str, int | None], ...] = (
    ("3 T gradient echo, TE 4.6 ms, 5 mm", "dcm_qa_fmap/Ref/GE_6_CV_Neuro_HH_Adv.nii", None),
    ("7 T gradient echo, echo 1, crop", "megre_7t_crop/Mag.nii.gz", 0),
    ("7 T gradient echo, echo 3, crop", "megre_7t_crop/Mag.nii.gz", 2),
    ("T2*-weighted neck", "sct_t2s_and_bad_headers/t2s_uncropped.nii.gz", None),
    ("perfusion, no T2* weighting", "niivue_headers/pcasl.nii.gz", 0),
    ("T1-like template", "niivue_headers/nifti_space/RAS.nii.gz", None),
)
EPI_FOLDER = "dcm_qa_orientation/Ref"


def example4d() -> Path:
    """Gradient-echo EPI that comes with nibabel."""
    import nibabel

    return Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"


def scans(data: Path) -> list[tuple[str, Path, int | None]]:
    """Description, file and image number of every scan that is there."""
    found: list[tuple[str, Path, int | None]] = [
        ("nibabel example4d, gradient-echo EPI, 2 mm", example4d(), 0)
    ]
    found += [(what, data / name, frame) for what, name, frame in SCANS]
    epi = sorted((data / EPI_FOLDER).glob("*.nii*"))
    found += [(f"3 T gradient-echo EPI {file.stem}", file, 0) for file in epi]
    return [scan for scan in found if scan[1].exists()]


def answer(file: Path, frame: int | None, bundle: Bundle, backend: Backend, force: bool) -> str:
    """Lesions found, or why there is no answer."""
    for number in (frame, None):
        try:
            prediction = predict_file(file, bundle, backend, Request(frame=number, force=force))
        except InputRefused as refusal:
            if number is not None and "frame" in str(refusal):
                continue  # a file of one image takes no number
            return f"refused: {str(refusal).split(';')[0]}"
        except CmbnetError as error:
            return f"failed: {error}"
        return str(len(prediction.found.lesions))
    return "refused"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="default")
    args = parser.parse_args()
    bundle = load_bundle(args.model)
    backend = open_backend(bundle)
    print("| scan | answer | with --force |\n|---|---|---|")
    for what, file, frame in scans(args.data):
        plain = answer(file, frame, bundle, backend, force=False)
        forced = answer(file, frame, bundle, backend, force=True) if "refused" in plain else ""
        print(f"| {what} | {plain} | {forced} |")


if __name__ == "__main__":
    main()
