"""The parity gate: an artefact must find what the Keras float32 network finds.

Both run the whole pipeline on the same scans, at the same crops. Probabilities are compared voxel
by voxel and lesions one by one; a small difference of probabilities that flips a lesion fails, and
a large one that flips none is reported but passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmbnet.deploy.flips import describe_flips, left_over
from cmbnet.errors import CmbnetError
from cmbnet.lesions import COUNTED_SIZES, size_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cmbnet.predict import Prediction
    from cmbnet.volume import Volume

ROUNDING = 1e-9
"""Rounding error of a difference of fractions. A limit of 1/n must allow one lesion of n."""


class ParityFailed(CmbnetError):
    """An artefact does not find what the Keras network finds.

    The message says which artefact, and what to do. The bundle in `folder` is written and marks it.
    """

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message, argument="allow_parity_failure")
        self.folder = folder


@dataclass(frozen=True, slots=True)
class Limits:
    """The differences that the gate tolerates."""

    differing_fraction: float  # Lesions that only one of the two found, over those of the reference
    # Difference of the two masks' Dice with the truth, pooled over the scans
    dice_difference: float
    recall_drop: float  # Drop of the recall of true lesions of 2 to 5 mm, as a fraction
    # Number of lesions from which one flip is always allowed. None never allows it.
    one_flip_from: int | None = None

    def at_least_one(self, fraction: float, lesions: int) -> float:
        """Return a limit, or the share of one lesion if that is larger and one flip is allowed.

        Examples:
            >>> INT8_LIMITS.at_least_one(0.01, 50), INT8_LIMITS.at_least_one(0.01, 365)
            (0.02, 0.01)
        """
        if self.one_flip_from is None or lesions < self.one_flip_from:
            return fraction
        return max(fraction, 1 / lesions)


FLOAT_LIMITS = Limits(differing_fraction=0.0, dice_difference=0.005, recall_drop=0.0)
INT8_LIMITS = Limits(
    differing_fraction=0.01, dice_difference=0.01, recall_drop=0.01, one_flip_from=20
)


def limits_of(precision: str) -> Limits:
    """Return the limits for a precision. int8 may differ a little, floats may not."""
    return INT8_LIMITS if precision == "int8" else FLOAT_LIMITS


@dataclass(frozen=True, slots=True)
class GateCase:
    """A scan with its truth."""

    name: str  # Name for messages
    scan: Volume  # The image
    lesions: NDArray[Any]  # Instance labels of true lesions, (z, y, x) on the grid of the scan
    small: frozenset[int]  # Labels of true lesions of 2 to 5 mm
    # Mask where the network looks, lesions included. None lets the pipeline find it.
    brain: Volume | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """The result of the comparison."""

    cases: int  # Number of scans
    max_difference: float  # Largest difference of a voxel's probability
    mean_difference: float  # Mean difference over the voxels where either is above 1 %
    lesions_reference: int  # Number of lesions that Keras found
    lesions_artefact: int  # Number of lesions that the artefact found
    lesions_differing: int  # Number of lesions of either that touch no lesion of the other
    dice_reference: float  # Pooled Dice of Keras' mask with the truth
    dice_artefact: float  # Pooled Dice of the artefact's mask with the truth
    recall_small_reference: float  # Fraction of true lesions of 2 to 5 mm that Keras touches
    recall_small_artefact: float  # Fraction of them that the artefact touches
    # For each differing lesion, which side has it and why the other lacks it
    flips: tuple[str, ...]
    faults: tuple[str, ...]  # Descriptions of the exceeded limits

    @property
    def passed(self) -> bool:
        """Return whether no limit was exceeded."""
        return not self.faults

    def to_dict(self) -> dict[str, float | bool | str]:
        """Return plain values for the manifest."""
        words = {name: "; ".join(getattr(self, name)) for name in ("faults", "flips")}
        names = [name for name in self.__slots__ if name not in words]
        values: dict[str, float | bool | str] = {name: getattr(self, name) for name in names}
        return {"passed": self.passed, **words, **values}


def compare_predictions(
    cases: Sequence[GateCase],
    reference: Sequence[Prediction],
    artefact: Sequence[Prediction],
    limits: Limits,
) -> GateResult:
    """Compare two backends' predictions of the same cases.

    There is at least one scan. The reference is Keras in float32.
    """
    rows = [_compare(*row) for row in zip(cases, reference, artefact, strict=True)]
    total = {name: sum(row[name] for row in rows) for name in rows[0]}
    small = int(total["small"])
    values: dict[str, Any] = {
        "cases": len(rows),
        "max_difference": max(row["max_difference"] for row in rows),
        "mean_difference": total["summed_difference"] / max(total["relevant_voxels"], 1),
        "lesions_reference": int(total["lesions_reference"]),
        "lesions_artefact": int(total["lesions_artefact"]),
        "lesions_differing": int(total["lesions_differing"]),
    }
    for side in ("reference", "artefact"):
        both = total[f"mask_{side}"] + total["truth"]
        values[f"dice_{side}"] = 2 * total[f"inside_{side}"] / both if both else 1.0
        values[f"recall_small_{side}"] = total[f"found_{side}"] / small if small else 1.0
    sides = zip(cases, reference, artefact, strict=True)
    flips = tuple(f"{case.name}, {flip}" for case, *pair in sides for flip in describe_flips(*pair))
    return GateResult(**values, flips=flips, faults=_faults(values, limits, small))


def _faults(values: dict[str, Any], limits: Limits, small: int) -> tuple[str, ...]:
    """Describe the exceeded limits. `small` is the number of true lesions of 2 to 5 mm."""
    faults = []
    lesions = values["lesions_reference"]
    allowed = lesions * limits.at_least_one(limits.differing_fraction, lesions)
    if values["lesions_differing"] > allowed + ROUNDING:
        faults.append(
            f"{values['lesions_differing']} lesions differ "
            f"({values['lesions_reference']} by Keras, {values['lesions_artefact']} by the "
            f"artefact; {allowed:g} may)"
        )
    if limits.differing_fraction == 0 and values["lesions_reference"] != values["lesions_artefact"]:
        faults.append(
            f"{values['lesions_artefact']} lesions instead of {values['lesions_reference']}"
        )
    dice = abs(values["dice_reference"] - values["dice_artefact"])
    least = limits.at_least_one(limits.dice_difference, lesions)
    if dice >= least:
        faults.append(f"Dice differs by {dice:.4f}, less than {least:.3g} is required")
    drop = values["recall_small_reference"] - values["recall_small_artefact"]
    most = limits.at_least_one(limits.recall_drop, small)
    if drop > most + ROUNDING:
        faults.append(
            f"recall of 2-5 mm lesions drops by {drop:.3f}, at most {most:.3g} is allowed"
        )
    return tuple(faults)


def _compare(case: GateCase, reference: Prediction, artefact: Prediction) -> dict[str, float]:
    """Count lesions and voxels of one case, by the names that `compare_predictions` reads."""
    labels = [p.found.labels for p in (reference, artefact)]
    first, second = (p.probability.data for p in (reference, artefact))
    difference = np.abs(first - second)
    relevant = np.maximum(first, second) > 0.01
    counts = {
        "small": len(case.small),
        "truth": int(np.count_nonzero(case.lesions > 0)),
        "lesions_differing": sum(map(len, left_over(*labels))),
        "max_difference": float(difference.max(initial=0.0)),
        "relevant_voxels": int(np.count_nonzero(relevant)),
        "summed_difference": float(difference[relevant].sum(dtype=np.float64)),
    }
    for side, prediction in (("reference", reference), ("artefact", artefact)):
        mask = prediction.found.labels > 0
        counts[f"lesions_{side}"] = len(prediction.found.lesions)
        counts[f"found_{side}"] = len(set(np.unique(case.lesions[mask]).tolist()) & case.small)
        counts[f"inside_{side}"] = int(np.count_nonzero((case.lesions > 0) & mask))
        counts[f"mask_{side}"] = int(np.count_nonzero(mask))
    return counts


def small_lesions(labels: NDArray[Any], rows: Iterable[tuple[int, float]]) -> frozenset[int]:
    """Return the labels that are present and whose diameter lies in 2 to 5 mm.

    `rows` are pairs of label and in-plane diameter in mm.
    """
    present = set(np.unique(labels).tolist())
    return frozenset(n for n, mm in rows if n in present and size_name(mm) == COUNTED_SIZES[0])
