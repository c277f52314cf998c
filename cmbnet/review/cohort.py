"""The cases of a review: results of `cmbnet predict` and the scans they were made of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import CmbnetError, InputRefused, UnreadableFile, printable
from cmbnet.io import read_nifti
from cmbnet.io.case import Case
from cmbnet.io.digest import first_with
from cmbnet.io.scan import nifti_stem, read_scan
from cmbnet.preprocess.orientation import Orientation, closest_orientation
from cmbnet.report.result import Result, read_result
from cmbnet.report.write import LESIONS, RESULT
from cmbnet.volume import Volume

if TYPE_CHECKING:
    from cmbnet.io.dicom import DicomSource

MOST_NEARBY: Final = 20_000
"""Number of files beside the results that are looked at, at most, to find the scans."""

MOST_BESIDE: Final = 20
"""Files beside a scan that may be its phase, at most: each is hashed."""

GREY_LEVELS: Final = 65535
BRIGHTEST: Final = 99.9
"""Percentile of the scan that becomes white. Brighter voxels are shown as it."""


@dataclass(frozen=True, slots=True)
class ReviewCase:
    """A case that can be reviewed, or the reason why it cannot."""

    name: str
    folder: Path
    result: Result | None = None
    fault: str = ""

    @property
    def key(self) -> str:
        """Hash of the model's answer: scan, model, and lesions with their places."""
        if self.result is None:
            return ""
        parts = [self.result.request.input_sha256, self.result.request.bundle_sha256]
        parts += [f"{lesion.id} {lesion.bbox}" for lesion in self.result.lesions]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class OpenCase:
    """A case in memory.

    Args:
        result: The model's answer.
        volume: The scan on its own grid.
        outlines: Voxels of the model's lesions by their number, as ascending indices of the
            flattened array.
        source: Images of a DICOM scan. None for NIfTI.
        phase: The phase that the model used, on the same grid, or None.
    """

    result: Result
    volume: Volume
    outlines: dict[int, NDArray[np.int64]]
    source: DicomSource | None = None
    phase: Volume | None = None
    turn: Orientation = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turn", closest_orientation(self.volume.affine))

    @property
    def shown_shape(self) -> tuple[int, int, int]:
        """Shape of the shown array: to superior, to posterior, to left."""
        z, y, x = (self.volume.shape[axis] for axis in self.turn.axes)
        return z, y, x

    @property
    def shown_spacing_mm(self) -> tuple[float, float, float]:
        """Distance of voxels along the axes of the shown array."""
        z, y, x = (self.volume.spacing_mm[axis] for axis in self.turn.axes)
        return z, y, x

    def shown(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn an array as a radiologist looks at it: front up, the patient's right on the left."""
        return self.turn.apply(array)[:, ::-1, ::-1]

    def to_shown(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Turn voxel indices (n, 3) of the scan into those of the shown array."""
        turned, shape = index[:, self.turn.axes], self.shown_shape
        return self._flipped(turned, shape)

    def to_scan(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Turn voxel indices (n, 3) of the shown array into those of the scan."""
        turned = self._flipped(index, self.shown_shape)
        return turned[:, np.argsort(self.turn.axes)]

    def _flipped(self, index: NDArray[np.int64], shape: tuple[int, int, int]) -> NDArray[np.int64]:
        z, y, x = self.turn.flips
        against = np.array((z, not y, not x))
        flipped: NDArray[np.int64] = np.where(against, np.array(shape) - 1 - index, index)
        return flipped

    def shown_voxels(self, flat: Sequence[int] | NDArray[np.int64]) -> list[int]:
        """Turn indices of the flattened scan into ascending ones of the flattened shown array."""
        index = np.stack(np.unravel_index(np.asarray(flat, np.int64), self.volume.shape), axis=1)
        found = np.ravel_multi_index(tuple(self.to_shown(index).T), self.shown_shape)
        voxels: list[int] = np.sort(found).tolist()
        return voxels

    def scan_voxels(self, flat: Sequence[int]) -> tuple[int, ...]:
        """Turn indices of the flattened shown array into ascending ones of the flattened scan.

        Raises:
            ValueError: If one lies outside.
        """
        index = np.stack(np.unravel_index(np.asarray(flat, np.int64), self.shown_shape), axis=1)
        found = np.ravel_multi_index(tuple(self.to_scan(index).T), self.volume.shape)
        return tuple(np.unique(found).tolist())

    def pixels(self) -> bytes:
        """Return the shown array as little-endian uint16, from the darkest to `BRIGHTEST`."""
        return self._grey(self.volume.data, BRIGHTEST)

    def phase_pixels(self) -> bytes:
        """Return the phase like `pixels`, from its lowest to its highest value.

        Raises:
            InputRefused: If there is none.
        """
        if self.phase is None:
            raise InputRefused("this case has no phase, or it was not found beside the scan")
        return self._grey(self.phase.data, 100.0)

    def _grey(self, data: NDArray[Any], brightest: float) -> bytes:
        low = float(data.min())
        high = float(np.percentile(data[::2, ::2, ::2], brightest))
        scale = GREY_LEVELS / (high - low) if high > low else 0.0
        grey = ((self.shown(data).astype(np.float32) - low) * scale).clip(0, GREY_LEVELS)
        return grey.astype("<u2").tobytes()


class Cohort:
    """The cases of a folder of results, and where their scans may be.

    Args:
        cases: The cases in the order of their names.
        scans: Scans that were named for the review.
        nearby: Folder in and below which scans are looked for if none were named.
    """

    def __init__(
        self, cases: Sequence[ReviewCase], scans: Sequence[Case], nearby: Path | None
    ) -> None:
        self.cases = tuple(cases)
        self._scans = scans
        self._files: dict[str, list[Path]] = {}
        for path in _nearby(nearby) if nearby is not None else (one.path for one in scans):
            self._files.setdefault(printable(path.name), []).append(path)

    def open(self, case: ReviewCase) -> OpenCase:
        """Read the scan and the lesions of a case.

        Raises:
            InputRefused: If the scan is missing or has changed since the prediction, or the labels
                do not fit the result.
            UnreadableFile: If a file is damaged.
        """
        if case.result is None:
            raise InputRefused(case.fault)
        result = case.result
        file, request = self.scan_of(case.name, result), result.request
        loaded = read_scan(
            file, frame=request.frame, series=request.series, phase_series=request.phase_series
        )
        scan, phase = loaded.volume, self._phase_of(case.name, file, result) or loaded.phase
        labels = read_nifti(case.folder / LESIONS).data
        if labels.shape != scan.shape:
            raise InputRefused(
                f"labels of shape {scan.shape} are required in {case.folder / LESIONS}, got "
                f"{labels.shape}; run the prediction again"
            )
        at = np.flatnonzero(labels)
        values = labels.ravel()[at].astype(int)
        outlines = {lesion.id: at[values == lesion.id] for lesion in result.lesions}
        if sum(map(len, outlines.values())) < len(at) or not all(map(len, outlines.values())):
            raise InputRefused(
                f"the lesions of {case.folder / RESULT} are required in {LESIONS} beside it, got "
                f"the numbers {sorted(set(values.tolist()))[:20]}; run the prediction again"
            )
        if phase is not None and phase.data.shape != scan.data.shape:
            phase = None
        return OpenCase(result, scan, outlines, loaded.dicom, phase)

    def _phase_of(self, name: str, scan: Path, result: Result) -> Volume | None:
        """Return the file of the phase of a NIfTI scan, if it is named or beside the scan."""
        wanted = result.request.phase_sha256
        if wanted is None:
            return None
        named = [one.phase for one in self._scans if one.name == name and one.phase is not None]
        beside = [path for path in sorted(scan.parent.iterdir()) if nifti_stem(path.name)]
        found = first_with([*named, *beside[:MOST_BESIDE]], wanted)
        return None if found is None else read_nifti(found)

    def scan_of(self, name: str, result: Result) -> Path:
        """Return the file whose content is that of the prediction.

        Raises:
            InputRefused: If it is missing or has changed.
        """
        named = [one.path for one in self._scans if one.name == name]
        tried = [*named, *self._files.get(result.input.file, [])]
        if not tried and nifti_stem(result.input.file) is None:  # DICOM has no name of a file
            tried = [one.path for one in self._scans if one.dicom]
        same = first_with(tried, result.request.input_sha256)
        if same is not None:
            return same
        what = result.input.file or "DICOM input"
        if tried:
            raise InputRefused(
                f"the scan {what} of case {name} has changed since the prediction; run the "
                "prediction again, or restore the scan"
            )
        raise InputRefused(
            f"the scan {what} of case {name} was not found; name its file or folder after "
            "the folder of the results"
        )


def open_cohort(results: Path, scans: Sequence[Case] = ()) -> Cohort:
    """Find the cases of a folder that `cmbnet predict` wrote, or of the folder of one case.

    Args:
        results: Folder of the results.
        scans: The scans. If there is none, they are looked for beside the folder of the results,
            by their names, and known by their hashes.

    Raises:
        UnreadableFile: If there is no result.
    """
    alone = (results / RESULT).is_file()
    folders = [results] if alone else sorted(path.parent for path in results.glob(f"*/{RESULT}"))
    if not folders:
        raise UnreadableFile(
            f"a {RESULT} of `cmbnet predict` is required in {results} or its folders, got none"
        )
    nearby = None if scans else results.resolve().parent
    return Cohort([_case(folder) for folder in folders], scans, nearby)


def _case(folder: Path) -> ReviewCase:
    name = printable(folder.name)
    try:
        return ReviewCase(name, folder, read_result(folder / RESULT))
    except CmbnetError as error:
        return ReviewCase(name, folder, fault=printable(str(error)))


def _nearby(folder: Path) -> Iterator[Path]:
    """Yield the NIfTI files in a folder, its folders and theirs."""
    seen = 0
    for place, folders, files in os.walk(folder):
        if len(Path(place).relative_to(folder).parts) == 2:
            folders.clear()
        seen += len(files) + len(folders)
        if seen > MOST_NEARBY:
            return
        yield from (Path(place) / name for name in files if nifti_stem(name))
