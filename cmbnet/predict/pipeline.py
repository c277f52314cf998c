"""The one pipeline: scan, frame, stacks, network, native grid, lesions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from cmbnet.errors import InputRefused
from cmbnet.lesions import find_lesions, with_places
from cmbnet.predict.phase import with_phase
from cmbnet.predict.prediction import InputRecord, NotAnalysable, Prediction, Refusal
from cmbnet.predict.request import PLAIN, Request
from cmbnet.preprocess import prepare
from cmbnet.preprocess.qc import check_quality
from cmbnet.regions import locate
from cmbnet.slices import BrainBox, brain_box, make_stacks, runs_of_slices
from cmbnet.threads import Steps, finished

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle
    from cmbnet.preprocess import PreparedCase
    from cmbnet.preprocess.qc import QualityReport
    from cmbnet.volume import Volume

LONGEST_MM: Final = 500.0
"""The field of view of an MR scanner is no longer. A scan that seems to be has its axes mixed up:
72 slices read as columns of 2 mm make a head of 768 mm."""

STACKS_AT_ONCE: Final = 24
"""Stacks are three times as large as the image; only twice this many exist at a time. Between two
lots the network's threads wait for the slowest of them."""


def predict_volume(
    volume: Volume,
    bundle: Bundle,
    backend: Backend,
    request: Request = PLAIN,
    *,
    brain_mask: Volume | None = None,
    phase: Volume | None = None,
    record: InputRecord | None = None,
) -> Prediction:
    """Find microbleeds on a scan.

    Args:
        volume: The scan on its own grid, as `read_nifti` gives it.
        bundle: The model.
        backend: Opened for this bundle.
        request: How to look at it: its operating point, and whether to answer even if the quality
            gate says that an answer would mean nothing.
        brain_mask: On the grid of the scan; by default the brain is estimated.
        phase: The phase of the same acquisition on the grid of the scan. It tells calcifications
            from microbleeds; one that cannot be trusted is left out with a warning.
        record: Which bytes the scan came from.

    Returns:
        The prediction; mask, labels and probability lie on the grid of the scan.

    Raises:
        NotAnalysable: If the quality gate refuses the scan.
        InputRefused: If another input does not fit the scan.
        UsageError: If the operating point does not exist.
        BundleError: If the model cannot be run.
    """
    steps = steps_of_volume(
        volume, bundle, backend, request, brain_mask=brain_mask, phase=phase, record=record
    )
    return finished(steps)


def steps_of_volume(
    volume: Volume,
    bundle: Bundle,
    backend: Backend,
    request: Request = PLAIN,
    *,
    brain_mask: Volume | None = None,
    phase: Volume | None = None,
    record: InputRecord | None = None,
) -> Steps[Prediction]:
    """Do the same in three stages: before the network, the network, and after it."""
    _require_possible_extent(volume)
    point = bundle.operating_point(request.operating_point)
    record = InputRecord() if record is None else record
    clock = _Clock()
    with clock.stage("prepare"):
        prepared = prepare(volume, bundle.recipe, brain_mask=brain_mask)
    with clock.stage("quality"):
        quality = check_quality(volume, prepared)
        if not quality.analysable and not request.force:
            raise NotAnalysable(
                Refusal(
                    volume=volume,
                    quality=quality,
                    operating_point=point,
                    bundle=bundle,
                    backend=backend.info,
                    record=record,
                )
            )
    yield
    prediction = yield from _steps_of_prepared(
        volume,
        bundle,
        backend,
        request,
        prepared=prepared,
        quality=quality,
        record=record,
    )
    prediction = replace(prediction, timings_s={**clock.seconds, **prediction.timings_s})
    return prediction if phase is None else with_phase(prediction, phase)


def _require_possible_extent(volume: Volume) -> None:
    """Refuse an affine whose axes are not those of the array.

    Raises:
        InputRefused: If the scan is longer than any scanner's field of view.
    """
    extent = np.array(volume.shape) * volume.spacing_mm
    if extent.max() > LONGEST_MM:
        raise InputRefused(
            f"a scan of at most {LONGEST_MM:g} mm along each axis is required, got "
            f"{' x '.join(f'{mm:.0f}' for mm in extent)} mm (z, y, x) in {volume.source}: do "
            "array and affine have the same order of axes? Volume.from_array takes nibabel's"
        )


def predict_prepared(
    volume: Volume,
    bundle: Bundle,
    backend: Backend,
    request: Request = PLAIN,
    *,
    prepared: PreparedCase,
    quality: QualityReport,
    record: InputRecord | None = None,
) -> Prediction:
    """Find microbleeds on a scan that is prepared already; what the quality gate said is noted.

    Args:
        volume: The scan on its own grid.
        bundle: The model.
        backend: Opened for this bundle.
        request: Its operating point is used.
        prepared: The scan in the frame of the bundle's recipe.
        quality: What the quality gate said of it.
        record: Which bytes the scan came from.

    Raises:
        UsageError: If the operating point does not exist.
        BundleError: If the model cannot be run.
    """
    steps = _steps_of_prepared(
        volume, bundle, backend, request, prepared=prepared, quality=quality, record=record
    )
    return finished(steps)


def _steps_of_prepared(
    volume: Volume,
    bundle: Bundle,
    backend: Backend,
    request: Request,
    *,
    prepared: PreparedCase,
    quality: QualityReport,
    record: InputRecord | None,
) -> Steps[Prediction]:
    point = bundle.operating_point(request.operating_point)
    rules = bundle.rules_at(point)
    clock = _Clock()
    with clock.stage("network"):
        box = brain_box(prepared.brain, shapes=backend.shapes)
        in_box = _run_network(prepared, box, bundle, backend)
    yield
    with clock.stage("native_grid"):
        probability = volume.with_data(
            prepared.frame.to_native(in_box, order=1, window=(box.y, box.x))
        )
        brain = prepared.frame.to_native(prepared.brain)
    with clock.stage("lesions"):
        found = find_lesions(probability, rules, brain=brain, image=volume)
    locator = None
    if found.lesions:
        with clock.stage("regions"):
            affine = prepared.frame.affine(volume.affine)
            locator = locate(prepared.image, prepared.brain, affine)
            found = with_places(found, locator.place, rules)
    return Prediction(
        volume=volume,
        request=request,
        prepared=prepared,
        quality=quality,
        forced=not quality.analysable,
        probability=probability,
        found=found,
        rules=rules,
        operating_point=point,
        bundle=bundle,
        backend=backend.info,
        slices=len(box.slices),
        crop=box.shape,
        record=InputRecord() if record is None else record,
        timings_s=clock.seconds,
        locator=locator,
    )


def _run_network(
    prepared: PreparedCase, box: BrainBox, bundle: Bundle, backend: Backend
) -> NDArray[np.float32]:
    """Probabilities in the crop of all slices, 0 where the network did not look."""
    answers = np.zeros((len(prepared.image), *box.shape), np.float32)
    lots = [
        BrainBox(run.slices[start : start + STACKS_AT_ONCE], run.y, run.x)
        for run in _by_shape(runs_of_slices(prepared.brain, box, shapes=backend.shapes))
        for start in range(0, len(run.slices), STACKS_AT_ONCE)
    ]

    def stacks_of(lot: BrainBox) -> NDArray[np.float32]:
        return make_stacks(
            lot.crop(prepared.image),
            lot.slices,
            spacing_z_mm=prepared.spacing_mm[0],
            context=bundle.context,
        )

    # The next stacks are made while the network looks at these; no more than two exist at a time.
    with ThreadPoolExecutor(1, thread_name_prefix="stacks") as pool:
        ahead = [pool.submit(stacks_of, lot) for lot in lots[:1]]
        for lot, following in zip(lots, [*lots[1:], None], strict=True):
            stacks = ahead.pop().result()
            if following is not None:
                ahead.append(pool.submit(stacks_of, following))
            y, x = lot.y.start - box.y.start, lot.x.start - box.x.start
            answers[lot.slices, y : y + lot.shape[0], x : x + lot.shape[1]] = backend.predict(
                stacks
            )
    return answers


def _by_shape(runs: Sequence[BrainBox]) -> list[BrainBox]:
    """Sort runs so that each network is opened once, the largest first."""
    return sorted(runs, key=lambda run: (-run.shape[0] * run.shape[1], run.shape))


@dataclass(slots=True)
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 4)
