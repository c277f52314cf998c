"""A reader who knows the truth and works through a review without a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.lesions import label_components
from cmbnet.review import ReviewLog, Session, open_cohort
from cmbnet.review.session import Wish

Truth = Callable[[str], NDArray[Any]]
"""Function of the name of a case to its true labels (z, y, x)."""


def review_by_truth(results: Path, folder: Path, truth: Truth, *, cases: int | None = None) -> None:
    """Accept what touches the truth, reject the rest as veins, add and paint what is missed.

    Args:
        results: Folder of results with the scans beside it.
        folder: Folder of the reader.
        truth: The truth.
        cases: Number of cases to finish. None finishes all.
    """
    cohort = open_cohort(results)
    with ReviewLog(folder) as log:
        session = Session(cohort, log, folder.name, blind=False)
        session.repair()
        for number, case in enumerate(session.cases[:cases]):
            opened, labels = cohort.open(case), np.asarray(truth(case.name))
            revision = session.show(number)["revision"]

            def act(do: Any, **values: Any) -> dict[str, Any]:
                nonlocal revision
                state = session.act(number, Wish(do=do, revision=revision, **values))  # noqa: B023
                revision = state["revision"]
                return state

            found: set[int] = set()
            flat = label_components(labels > 0)[0].ravel()
            for lesion, voxels in opened.outlines.items():
                hit = set(flat[voxels].tolist()) - {0}
                found |= hit
                kind = None if hit else "vein"
                judgement = "accept" if hit else "reject"
                act("judge", mark=str(lesion), judgement=judgement, kind=kind)
            for lesion in sorted(set(flat.tolist()) - {0} - found):
                voxels = np.flatnonzero(flat == lesion)
                middle = np.stack(
                    np.unravel_index(voxels[[len(voxels) // 2]], labels.shape), axis=1
                )
                state = act("add", at=tuple(opened.to_shown(middle)[0].tolist()))
                act("paint", mark=state["marks"][-1]["id"],
                    voxels=tuple(opened.shown_voxels(voxels)))  # fmt: skip
            act("finish")
