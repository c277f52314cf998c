"""Simulated microbleeds in real ordinary brains: how many `cmbnet predict` finds.

    python -m benchmarks.semi_real [MODEL] -o OUT [--data ../shared/data] [--copies 40]

The lesions are the phantom's (`benchmarks.planted.plant`): moment, field, dephasing, and SWI
weighting where the phase of the scan is there. They lie in tissue, away from what is dark. The
truth is the phantom's too: what of a lesion can be seen against the scan without it. OUT gets
``table.md``, ``lesions.csv`` and ``montage.png``; no image is kept.

No scan here is of a patient, and few heads stand behind many copies: the intervals (Wilson's, by
lesion) say how well a share is known on these scans, not how it varies between heads.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.planted.plant import Copy, free_distance_mm, place_in, plant, scan_of
from benchmarks.real_brains import EPI_FOLDER, example4d
from benchmarks.semi_real_montage import write_montage
from cmbnet import RESEARCH_USE_ONLY
from cmbnet.backends import Backend, open_backend
from cmbnet.bundle import Bundle, load_bundle
from cmbnet.evaluation import Case, ScoredCase, Settings, score_case, summarise
from cmbnet.evaluation.stats.intervals import wilson
from cmbnet.io import read_nifti
from cmbnet.phantom.grid import FloatArray
from cmbnet.phantom.lesions import draw_moments
from cmbnet.phantom.protocol import Protocol
from cmbnet.phantom.scan import ComplexArray, ScanPlan
from cmbnet.phantom.swi import susceptibility_weighted
from cmbnet.phantom.truth import find_apparent
from cmbnet.predict import Request, predict_volume
from cmbnet.preprocess import prepare
from cmbnet.preprocess.measures import measure_quality

LESIONS = 6
"""Tried in each copy; crops of a head have room for fewer."""
MIRROR_PX = 16
"""A crop is mirrored at its edges for the high-pass, which takes it for periodic."""
MEGRE = "megre_7t_crop/Mag.nii.gz"


@dataclass(frozen=True, slots=True)
class Background:
    """A real scan.

    Args:
        name: For the table.
        file: Its magnitude.
        frame: Image of a 4D file.
        protocol: Field and echo time, which the file does not say, and what is made of the phase.
        fit: Whether contrast and resolution are those that the model is for; else why not.
        phase: Its phase in rad, or None.
    """

    name: str
    file: Path
    frame: int | None
    protocol: Protocol
    fit: str = "yes"
    phase: Path | None = None


def backgrounds(data: Path) -> list[Background]:
    """The scans that are there; those without T2* weighting or without a brain are no use."""
    seven = data / MEGRE
    phase = data / "megre_7t_crop/Phase.nii"
    found = [
        Background("7 T, 3rd echo, SWI", seven, 2, protocol(7, 12, "swi"), phase=phase),
        Background("7 T, 3rd echo, magnitude", seven, 2, protocol(7, 12)),
        Background("EPI 2 mm (field, TE assumed)", example4d(), 0, protocol(3, 30),
                   "no: pixel of 2 mm"),
        *(
            Background(f"EPI {file.stem}", file, 0, protocol(3, te_ms), "no: pixel of 2.7-3.3 mm")
            for file in sorted((data / EPI_FOLDER).glob("*.nii*"))
            for te_ms in [34 if "MB" in file.stem else 30]
        ),
        Background("3 T, TE 4.6 ms, every 9 mm", data / "dcm_qa_fmap/Ref/GE_6_CV_Neuro_HH_Adv.nii",
                   None, protocol(3, 4.6, gap_mm=4), "no: hardly T2*-weighted, gaps"),
    ]  # fmt: skip
    return [one for one in found if one.file.exists()]


def protocol(
    field_t: float,
    te_ms: float,
    output: Literal["swi", "magnitude"] = "magnitude",
    gap_mm: float = 0,
) -> Protocol:
    """What matters of an acquisition here; pixel and slice are the file's."""
    return Protocol(
        "real", field_t, te_ms, 30, 15, 1, max(1, 2 * gap_mm), 1, gap_mm, phase_fraction=1,
        output=output,
    )  # fmt: skip


class Planter:
    """Makes copies of one scan, each with lesions of its own."""

    def __init__(self, background: Background, bundle: Bundle) -> None:
        volume = read_nifti(background.file, frame=background.frame)
        prepared = prepare(volume, bundle.recipe)
        self.scan: ScanPlan = scan_of(volume, background.protocol)
        self.signal = volume.data.astype(np.complex64)
        if background.phase is not None:
            self.signal *= np.exp(1j * stored_phase(background.phase, background.frame or 0))
        self.white = prepared.intensity.peak - prepared.intensity.zero
        self.noise = measure_quality(volume, prepared).noise * self.white
        brain = prepared.frame.to_native(prepared.brain)
        self.free_mm = free_distance_mm(volume.data, brain, self.scan.grid)
        self.without = volume.with_data(self.seen(self.signal))

    def seen(self, signal: ComplexArray) -> FloatArray:
        """The image that a reader sees."""
        edge = ((0, 0), (MIRROR_PX, MIRROR_PX), (MIRROR_PX, MIRROR_PX))
        wide = np.pad(signal, edge, mode="reflect")
        image = susceptibility_weighted(wide, self.scan.grid, self.scan.protocol)
        return np.ascontiguousarray(image[:, MIRROR_PX:-MIRROR_PX, MIRROR_PX:-MIRROR_PX])

    def copy(self, seed: int) -> Copy:
        """A copy with lesions as patients have them."""
        rng = np.random.default_rng([seed, 20])
        lesions = place_in(rng, self.scan, self.free_mm, draw_moments(rng, LESIONS))
        exact = self.seen(plant(self.signal, self.scan, lesions))
        noisy = self.seen(plant(self.signal, self.scan, lesions, noise_sd=self.noise, rng=rng))
        labels, ignore, rows = find_apparent(
            lesions, self.scan.grid, exact, self.without.data, noise=self.noise, white=self.white
        )
        return Copy(self.without.with_data(noisy), self.without, labels, ignore, rows)


def stored_phase(file: Path, frame: int) -> FloatArray:
    """Phase in rad (z, y, x): as stored, for the scale factor of these files is wrong."""
    import nibabel

    stored = nibabel.load(file).dataobj.get_unscaled()[..., frame].T
    if not 3.0 < np.abs(stored).max() < 3.2:
        raise SystemExit(f"{file}: stored phase from -pi to pi is required")
    phase: FloatArray = stored.astype(np.float32)
    return phase


def score(copy: Copy, name: str, bundle: Bundle, backend: Backend) -> ScoredCase:
    """What the model finds of a copy. The gate is overruled: it refuses crops of a head."""
    prediction = predict_volume(copy.image, bundle, backend, Request(force=True))
    return score_case(
        Case(
            name=name,
            truth=copy.image.with_data(copy.labels),
            predicted=copy.image.with_data(prediction.found.labels),
            ignore=copy.image.with_data(copy.ignore),
        ),
        Settings(size_rule="ignore"),
    )


def measure(
    background: Background, bundle: Bundle, backend: Backend, copies: int
) -> tuple[str, list[tuple[Copy, ScoredCase]]]:
    """A row of the table, and what it is made of."""
    planter = Planter(background, bundle)
    made = [planter.copy(seed) for seed in range(copies)]
    scored = [score(copy, f"{n:03d}", bundle, backend) for n, copy in enumerate(made)]
    before = predict_volume(planter.without, bundle, backend, Request(force=True))
    counts = summarise(scored, Settings(size_rule="ignore")).counts
    unseen = sum(row.status != "truth" for copy in made for row in copy.rows)
    spacing = " x ".join(f"{mm:.2g}" for mm in planter.without.spacing_mm[::-1])
    cells = [
        background.name, spacing, background.fit, str(copies),
        share(counts["found_small"], counts["missed_small"]),
        share(counts["found_large"], counts["missed_large"]),
        str(unseen), f"{counts['false'] / copies:.2f}", str(len(before.found.lesions)),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |", list(zip(made, scored, strict=True))


def share(found: float, missed: float) -> str:
    """``found of all = share (interval)``."""
    if not found + missed:
        return "none"
    interval = wilson(found, found + missed)
    return (
        f"{found:.0f} of {found + missed:.0f} = {found / (found + missed):.2f} "
        f"({interval.low:.2f}-{interval.high:.2f})"
    )


COLUMNS = (
    "scan", "voxel mm", "fit", "copies", "sensitivity 2-5 mm", "sensitivity 5-10 mm",
    "not visible", "false per copy", "found before planting",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def lesion_rows(name: str, results: list[tuple[Copy, ScoredCase]]) -> Iterator[dict[str, Any]]:
    """All lesions of all copies, with their verdicts."""
    for copy, scored in results:
        verdicts = {one.label: one.verdict for one in scored.truth}
        for row in copy.rows:
            yield {
                "scan": name, "copy": scored.name, "status": row.status,
                "moment_ppm_mm3": round(row.moment_ppm_mm3, 3),
                "diameter_mm": round(row.diameter_mm, 2), "peak_drop": round(row.peak_drop, 3),
                "z": round(row.z, 1), "y": round(row.y, 1), "x": round(row.x, 1),
                "verdict": verdicts.get(row.lesion, "") if row.lesion else "",
            }  # fmt: skip


def main() -> None:
    """Measure every scan; write table, list and picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="default")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--copies", type=int, default=40, help="of a fit scan; a fifth of others")
    args = parser.parse_args()
    bundle = load_bundle(args.model)
    backend = open_backend(bundle)
    args.out.mkdir(parents=True, exist_ok=True)
    lines, rows, pictures = [HEAD], [], []
    print(HEAD)
    for background in backgrounds(args.data):
        copies = args.copies if background.fit == "yes" else max(1, args.copies // 5)
        line, results = measure(background, bundle, backend, copies)
        print(line, flush=True)
        lines.append(line)
        rows += list(lesion_rows(background.name, results))
        pictures.append((background.name, results))
    backend.close()
    (args.out / "table.md").write_text(f"{RESEARCH_USE_ONLY}\n\n" + "\n".join(lines) + "\n")
    with (args.out / "lesions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_montage(pictures, args.out / "montage.png")


if __name__ == "__main__":
    main()
