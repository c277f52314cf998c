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
"""Of a difference of two fractions: one lesion of n is allowed where 1/n is."""


class ParityFailed(CmbnetError):
    """An artefact does not find what the Keras network finds.

    Args:
        message: Which one, and what to do.
        folder: Of the bundle, which is written and marks it.
    """

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message, argument="allow_parity_failure")
        self.folder = folder


@dataclass(frozen=True, slots=True)
class Limits:
    """What the gate tolerates.

    Args:
        differing_fraction: Lesions found by only one of the two, over those of the reference.
        dice_difference: Between the two masks' Dice with the truth, pooled over the scans.
        recall_drop: Of true lesions of 2 to 5 mm, as a fraction.
        one_flip_from: From so many lesions on, no limit is below one of them: few scans do not
            make a single flip a failure. None: never.
    """

    differing_fraction: float
    dice_difference: float
    recall_drop: float
    one_flip_from: int | None = None

    def at_least_one(self, fraction: float, lesions: int) -> float:
        """A limit, or the share of one lesion where that is more and there are enough of them.

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
    """Limits for a precision: int8 may differ a little, floats may not."""
    return INT8_LIMITS if precision == "int8" else FLOAT_LIMITS


@dataclass(frozen=True, slots=True)
class GateCase:
    """A scan with its truth.

    Args:
        name: For messages.
        scan: The image.
        lesions: Instance labels of true lesions, (z, y, x) on the grid of the scan.
        small: Labels of true lesions of 2 to 5 mm.
        brain: Where the network looks; the lesions lie inside. None lets the pipeline find it.
    """

    name: str
    scan: Volume
    lesions: NDArray[Any]
    small: frozenset[int]
    brain: Volume | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What the comparison said.

    Args:
        cases: Scans compared.
        max_difference: Largest difference of a voxel's probability.
        mean_difference: Mean over the voxels where either is above 1 %; elsewhere both are 0.
        lesions_reference: Lesions that Keras found.
        lesions_artefact: Lesions that the artefact found.
        lesions_differing: Lesions of either that touch no lesion of the other.
        dice_reference: Pooled Dice of Keras' mask with the truth.
        dice_artefact: Of the artefact's.
        recall_small_reference: Fraction of true lesions of 2 to 5 mm that Keras touches.
        recall_small_artefact: That the artefact touches.
        flips: For each of the differing lesions, who has it and why the other has not.
        faults: What went over a limit, in words.
    """

    cases: int
    max_difference: float
    mean_difference: float
    lesions_reference: int
    lesions_artefact: int
    lesions_differing: int
    dice_reference: float
    dice_artefact: float
    recall_small_reference: float
    recall_small_artefact: float
    flips: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing went over a limit."""
        return not self.faults

    def to_dict(self) -> dict[str, float | bool | str]:
        """Plain values for the manifest."""
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

    Args:
        cases: At least one.
        reference: By Keras in float32.
        artefact: By the backend that is judged.
        limits: What is tolerated.
    """
    rows = [_compare(*row) for row in zip(cases, reference, artefact, strict=True)]
    total = np.sum([row.counts for row in rows], axis=0)
    voxels = sum(row.voxels for row in rows)
    first, second, unmatched, small, found_first, found_second = (int(n) for n in total[:6])
    truth, inside_first, inside_second, mask_first, mask_second = (int(n) for n in total[6:])
    values: dict[str, Any] = {
        "cases": len(rows),
        "max_difference": max(row.largest for row in rows),
        "mean_difference": sum(row.summed for row in rows) / max(voxels, 1),
        "lesions_reference": first,
        "lesions_artefact": second,
        "lesions_differing": unmatched,
        "dice_reference": _dice(inside_first, mask_first, truth),
        "dice_artefact": _dice(inside_second, mask_second, truth),
        "recall_small_reference": found_first / small if small else 1.0,
        "recall_small_artefact": found_second / small if small else 1.0,
    }
    flips = tuple(flip for row in rows for flip in row.flips)
    return GateResult(**values, flips=flips, faults=_faults(values, limits, small))


def _faults(values: dict[str, Any], limits: Limits, small: int) -> tuple[str, ...]:
    """What goes over a limit; `small` true lesions are of 2 to 5 mm."""
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


@dataclass(frozen=True, slots=True)
class _Row:
    """One case: counts in the order in which `compare_predictions` reads them."""

    counts: tuple[int, ...]
    flips: tuple[str, ...]
    voxels: int
    largest: float
    summed: float


def _compare(case: GateCase, reference: Prediction, artefact: Prediction) -> _Row:
    labels = [p.found.labels for p in (reference, artefact)]
    unmatched = sum(map(len, left_over(labels[0], labels[1])))
    flips = describe_flips(reference, artefact) if unmatched else ()
    truth = case.lesions > 0
    found = [len(set(np.unique(case.lesions[mask > 0]).tolist()) & case.small) for mask in labels]
    inside = [int(np.count_nonzero(truth & (mask > 0))) for mask in labels]
    sizes = [int(np.count_nonzero(mask)) for mask in labels]
    first, second = (p.probability.data for p in (reference, artefact))
    difference = np.abs(first - second)
    relevant = np.maximum(first, second) > 0.01
    counts = (
        len(reference.found.lesions),
        len(artefact.found.lesions),
        unmatched,
        len(case.small),
        *found,
        int(np.count_nonzero(truth)),
        *inside,
        *sizes,
    )
    return _Row(
        counts,
        flips=tuple(f"{case.name}, {flip}" for flip in flips),
        voxels=int(np.count_nonzero(relevant)),
        largest=float(difference.max(initial=0.0)),
        summed=float(difference[relevant].sum(dtype=np.float64)),
    )


def _dice(inside: int, mask: int, truth: int) -> float:
    return 2 * inside / (mask + truth) if mask + truth else 1.0


def small_lesions(labels: NDArray[Any], rows: Iterable[tuple[int, float]]) -> frozenset[int]:
    """Labels that are present and whose diameter lies in 2 to 5 mm.

    Args:
        labels: Instance labels.
        rows: (label, in-plane diameter in mm).
    """
    present = set(np.unique(labels).tolist())
    return frozenset(n for n, mm in rows if n in present and size_name(mm) == COUNTED_SIZES[0])
