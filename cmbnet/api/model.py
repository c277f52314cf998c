"""`load` a model bundle and predict scans with it from Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmbnet.api.found import Found
from cmbnet.api.scans import AnyScan, path_of, volume_of
from cmbnet.backends import open_backend
from cmbnet.bundle import load_bundle
from cmbnet.io.scan import read_scan
from cmbnet.predict import PLAIN, Request, predict_file, predict_volume

if TYPE_CHECKING:
    import os
    from types import TracebackType

    from cmbnet.backends import Backend
    from cmbnet.bundle import Bundle
    from cmbnet.volume import Volume


def load(
    bundle: str | os.PathLike[str] = "default",
    *,
    backend: str = "auto",
    threads: int | None = None,
) -> Model:
    """Open a model.

    Args:
        bundle: Name of a bundle that comes with cmbnet ("default"), or the folder of one.
        backend: "auto", a name ("litert"), a name with a precision ("litert:float32"), or the
            address of a Triton server ("triton+grpc://host:8001").
        threads: Threads of the network; by default the processors that this process may use.

    Returns:
        The model; close it, or use it in a `with` statement.

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
        **asked: Any,
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
                `scan`. It tells calcifications from microbleeds.
            asked: Fields of `Request` by name. They replace those of `request`:
                ``operating_point="sensitive"``, ``frame=0``, ``series="S3"``, ``force=True``.

        Raises:
            UnreadableFile: If the file is missing, truncated, or neither NIfTI nor DICOM.
            NotAnalysable: If the quality gate refuses the scan.
            InputRefused: If the scan cannot be analysed for another reason.
            UsageError: If an argument does not fit the scan or the model.
        """
        request = request.but(**{"backend": self.backend.info.name, **asked})
        path = path_of(scan)
        mask_path, phase_path = map(_path_beside, (brain_mask, phase))
        if (
            path is not None
            and (brain_mask is None) is (mask_path is None)
            and ((phase is None) is (phase_path is None))
        ):
            return Found(
                predict_file(
                    path, self.bundle, self.backend, request, brain_mask=mask_path, phase=phase_path
                )
            )
        volume = volume_of(scan) if path is None else _read(path, request)
        mask, turned = map(_volume_beside, (brain_mask, phase))
        return Found(
            predict_volume(
                volume, self.bundle, self.backend, request, brain_mask=mask, phase=turned
            )
        )

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


def _read(path: Path, request: Request) -> Volume:
    return read_scan(path, frame=request.frame, series=request.series).volume


def _path_beside(image: AnyScan | None) -> Path | None:
    return None if image is None else path_of(image)


def _volume_beside(image: AnyScan | None) -> Volume | None:
    path = _path_beside(image)
    if image is None or path is not None:
        return None if path is None else read_scan(path).volume
    return volume_of(image)
