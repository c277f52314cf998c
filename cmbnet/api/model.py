"""`load` a model bundle and predict scans with it from Python."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmbnet.api.found import Found
from cmbnet.backends import open_backend
from cmbnet.bundle import load_bundle
from cmbnet.errors import CmbnetError, UsageError
from cmbnet.io.scan import LoadedScan, read_scan
from cmbnet.predict import PLAIN, STAGES, Request, read_as_asked, steps_of_file, steps_of_scan
from cmbnet.threads import Steps, finished, in_stages
from cmbnet.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle


AnyScan = Any
"""`str`, `os.PathLike`, `Volume`, a nibabel image, a SimpleITK image, or (array, affine)."""


def load(
    bundle: str | os.PathLike[str] = "default", *, backend: str = "auto", threads: int | None = None
) -> Model:
    """Open a model.

    Args:
        bundle: Name of a bundle that comes with cmbnet ("default"), or the folder of one.
        backend: "auto", a name ("litert"), a name with a precision ("litert:float32"), or the
            address of a Triton server ("triton+grpc://host:8001").
        threads: Number of threads of the network. The default is the number of processors that
            this process may use.

    Returns:
        The model. Close it, or use it in a `with` statement.

    Raises:
        BundleError: If the bundle is missing or damaged.
        UsageError: If there is no such backend, or it cannot run this bundle.
        MissingExtra: If the package of the backend is not installed.

    Examples:
        >>> with load("default") as model:
        ...     sorted(model.operating_points)
        ['balanced', 'screening', 'sensitive']
    """
    loaded = load_bundle(str(bundle))
    return Model(loaded, open_backend(loaded, backend, threads=threads))


class Model:
    """A model that is ready to run. Several threads may call its `predict`.

    Args:
        bundle: The bundle of the model.
        backend: A backend that is open for this bundle. It is closed with the model.
    """

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.bundle = bundle
        self.backend = backend

    @property
    def operating_points(self) -> tuple[str, ...]:
        """Names of the sets of thresholds that `predict` can use."""
        return tuple(point.name for point in self.bundle.manifest.operating_points)

    def predict(
        self,
        scan: AnyScan,
        request: Request = PLAIN,
        *,
        brain_mask: AnyScan | None = None,
        phase: AnyScan | None = None,
        **options: Any,
    ) -> Found:
        """Find the microbleeds of a scan.

        Args:
            scan: A NIfTI file; a DICOM folder, zip or file; a `cmbnet.volume.Volume`; a nibabel
                or SimpleITK image; or a pair of an array (i, j, k) and an affine from
                (i, j, k, 1) to RAS+ mm, as nibabel has them.
            request: The options, as for the command line. Without it, all have their defaults.
            brain_mask: A brain mask on the grid of the scan, in one of the forms of `scan`. Without
                it, the brain is estimated.
            phase: The phase of the same acquisition on the grid of the scan, in one of the forms of
                `scan`. It tells calcifications from microbleeds. A DICOM study has its own.
            options: Fields of `Request` by name. They replace those of `request`:
                ``operating_point="sensitive"``, ``frame=0``, ``series="S3"``, ``force=True``.

        Raises:
            UnreadableFile: If the file is missing, truncated, or neither NIfTI nor DICOM.
            NotAnalysable: If the quality gate refuses the scan.
            InputRefused: If the scan cannot be analysed for another reason.
            UsageError: If an argument does not fit the scan or the model.
        """
        request = request.but(**{"backend": self.backend.info.name, **options})
        return finished(self._steps(scan, request, brain_mask, phase))

    def predict_many(
        self, scans: Iterable[AnyScan], request: Request = PLAIN, **options: Any
    ) -> Iterator[Found | CmbnetError]:
        """Find the microbleeds of many scans.

        While the network looks at one scan, the next is read and the one before is finished. At
        most three scans are in memory at a time, so `scans` may be a generator.

        Args:
            scans: The scans, each in one of the forms that `predict` takes.
            request: The options, as for `predict`.
            options: Fields of `Request` by name, as for `predict`.

        Yields:
            For each scan, in order, what `predict` returns. For a scan that `predict` would refuse,
            the error, so that one bad scan does not stop the others.

        Raises:
            UsageError: If there is no such option.
        """
        request = request.but(**{"backend": self.backend.info.name, **options})
        return in_stages((self._steps_or_error(scan, request) for scan in scans), stages=STAGES)

    def _steps_or_error(self, scan: AnyScan, request: Request) -> Steps[Found | CmbnetError]:
        try:
            return (yield from self._steps(scan, request))
        except CmbnetError as error:
            return error

    def _steps(
        self,
        scan: AnyScan,
        request: Request,
        brain_mask: AnyScan | None = None,
        phase: AnyScan | None = None,
    ) -> Steps[Found]:
        path = _path_of(scan)
        mask_path, phase_path = map(_path_beside, (brain_mask, phase))
        all_files = (brain_mask is None) is (mask_path is None)
        all_files &= (phase is None) is (phase_path is None)
        if path is not None and all_files:
            steps = steps_of_file(
                path, self.bundle, self.backend, request, brain_mask=mask_path, phase=phase_path
            )
            return Found((yield from steps))
        read = LoadedScan(volume_of(scan)) if path is None else read_as_asked(path, request)
        if phase is not None:
            read = replace(read, phase=_volume_beside(phase), no_phase="")
        mask = _volume_beside(brain_mask)
        steps = steps_of_scan(read, self.bundle, self.backend, request, brain_mask=mask)
        return Found((yield from steps))

    def close(self) -> None:
        """Free what the runtime holds. Closing again does nothing."""
        self.backend.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self.backend.info
        return f"Model({self.bundle.manifest.name!r}, {info.name}, {info.precision})"


def _path_of(scan: AnyScan) -> Path | None:
    """Return the path if the scan is given by one, else None."""
    return Path(scan) if isinstance(scan, str | os.PathLike) else None


def _path_beside(image: AnyScan | None) -> Path | None:
    return None if image is None else _path_of(image)


def _volume_beside(image: AnyScan | None) -> Volume | None:
    path = _path_beside(image)
    if image is None or path is not None:
        return None if path is None else read_scan(path).volume
    return volume_of(image)


def volume_of(scan: AnyScan) -> Volume:
    """Return a scan that is in memory as a `Volume`.

    Args:
        scan: A `Volume`, a nibabel image, a `SimpleITK.Image`, or a pair of an array of shape
            (i, j, k) and a 4x4 affine from (i, j, k, 1) to RAS+ mm, as nibabel has them.

    Raises:
        UsageError: If the scan has none of these forms.
        InputRefused: If the scan is not 3D, or the affine is wrong.
    """
    if isinstance(scan, Volume):
        return scan
    if hasattr(scan, "dataobj") and hasattr(scan, "affine"):
        return Volume.from_nibabel(scan)
    if hasattr(scan, "GetDirection") and hasattr(scan, "GetSpacing"):
        return Volume.from_sitk(scan)
    if isinstance(scan, tuple) and len(scan) == 2:
        return _volume_of_pair(scan)
    raise UsageError(
        "a scan is a path, a Volume, a nibabel image, a SimpleITK image, or a pair of an array "
        f"(i, j, k) and its affine; got {type(scan).__name__}"
    )


def _volume_of_pair(pair: Sequence[Any]) -> Volume:
    array, affine = np.asarray(pair[0]), np.asarray(pair[1])
    if affine.shape != (4, 4):
        raise UsageError(
            "a pair of an array (i, j, k) and its 4x4 affine is required, got an affine of shape "
            f"{affine.shape}"
        )
    return Volume.from_array(array, affine)
