"""What phase adds to a prediction: possible calcifications are told apart, and never deleted."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cmbnet.phase import PhaseRefused, fringe_ends, read_phase, scan_sign, susceptibility
from cmbnet.preprocess.qc import Finding

if TYPE_CHECKING:
    from cmbnet.lesions import FoundLesions, Lesion
    from cmbnet.phase import Phase, ScanSign
    from cmbnet.predict.prediction import Prediction
    from cmbnet.volume import Volume


def with_phase(prediction: Prediction, phase: Volume) -> Prediction:
    """Judge the lesions of a prediction by phase.

    A lesion that the phase calls diamagnetic is listed among the excluded candidates as a possible
    calcification, unless the request counts them. A phase that cannot be trusted changes nothing
    but the remarks.

    Args:
        prediction: What was found without phase.
        phase: The phase, in any unit, on the grid of the scan.
    """
    start = time.perf_counter()
    scan = prediction.volume
    try:
        read = read_phase(phase, scan)
    except PhaseRefused as refused:
        return remarked(prediction, Finding("phase_refused", "warning", str(refused)))
    brain = prediction.prepared.frame.to_native(prediction.prepared.brain)
    sign = scan_sign(read, scan, brain)
    lesions = [_judged(lesion, read, scan, sign) for lesion in prediction.found.lesions]
    found = replace(prediction.found, lesions=tuple(lesions))
    if not prediction.request.count_calcifications:
        found = _apart(found)
    prediction = remarked(prediction, _remark(read, sign))
    ends = fringe_ends(read, scan, brain)
    if ends:
        prediction = remarked(prediction, _fringes(ends))
    # Turned so that blood is bright at its borders along the main field in every picture.
    shown = replace(read, turn=read.turn * (sign.sign or 1))
    seconds = round(time.perf_counter() - start, 4)
    timings = prediction.timings_s | {"phase": seconds}
    return replace(prediction, found=found, phase=shown, timings_s=timings)


def _judged(lesion: Lesion, phase: Phase, scan: Volume, sign: ScanSign) -> Lesion:
    found = susceptibility(lesion.centre_ras_mm, lesion.max_in_plane_diameter_mm, phase, scan, sign)
    lesion = replace(lesion, phase=found.call, phase_strength=found.strength)
    if found.call != "diamagnetic":
        return lesion
    return replace(lesion, reason=f"possible calcification: {found.reason}")


def _apart(found: FoundLesions) -> FoundLesions:
    """Move what is diamagnetic to the excluded candidates, and number all anew."""
    kept = [lesion for lesion in found.lesions if lesion.phase != "diamagnetic"]
    apart = [replace(lesion, removed_by="phase") for lesion in found.lesions if lesion not in kept]
    excluded = sorted([*apart, *found.excluded], key=lambda lesion: -lesion.score)
    new_id = np.zeros(len(found.lesions) + 1, found.labels.dtype)
    for number, lesion in enumerate([*kept, *excluded], start=1):
        if lesion.removed_by in (None, "phase"):
            new_id[lesion.id] = number
    labels = new_id[found.labels]
    counted = labels <= len(kept)
    numbered = [replace(lesion, id=n) for n, lesion in enumerate([*kept, *excluded], start=1)]
    stages = found.stages | {"removed_by_phase": len(apart)}
    stages["lesions"] = stages.pop("lesions") - len(apart)  # stays the last
    return replace(
        found,
        lesions=tuple(numbered[: len(kept)]),
        excluded=tuple(numbered[len(kept) :]),
        stages=stages,
        labels=labels * counted,
        calcified=labels * ~counted,
    )


def _remark(phase: Phase, sign: ScanSign) -> Finding:
    """What was read, and whether its sign is known."""
    notes = " ".join(phase.notes)
    asked = f"{sign.agreeing:.0%} of {sign.votes} parts of the brain agree"
    if sign.sign == 0:
        return Finding(
            "phase_sign_unknown", "warning",
            f"{notes} Its sign is unknown ({asked}), so that it says nothing of the lesions.",
        )  # fmt: skip
    side = "positive" if sign.sign > 0 else "negative"
    return Finding("phase", "info", f"{notes} Blood has {side} phase: {asked}.")


def _fringes(ends: tuple[int, ...]) -> Finding:
    """What a reader should know of fringe lines."""
    slices = " and ".join(map(str, sorted(set(ends))))
    return Finding(
        "phase_fringes", "warning",
        f"Fringe lines end in the brain, near slice {slices} (from 0): "
        "the phases of the coils were combined badly, as in parallel imaging. Near them phase says "
        "nothing of a lesion, and an SWI that was made with it may have false dark spots.",
    )  # fmt: skip


def remarked(prediction: Prediction, found: Finding) -> Prediction:
    """Return the prediction with one more remark on the quality of the scan."""
    findings = (*prediction.quality.findings, found)
    return replace(prediction, quality=replace(prediction.quality, findings=findings))
