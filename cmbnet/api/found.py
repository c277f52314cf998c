"""`Found`: the result of a prediction, for people who work in Python."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.pages import render
from cmbnet.report import write_prediction
from cmbnet.report.html import headline
from cmbnet.report.pictures import Painter
from cmbnet.report.result import Result, build_result
from cmbnet.report.tables import lesions_csv

if TYPE_CHECKING:
    import os

    from cmbnet.lesions import Lesion
    from cmbnet.predict import Prediction
    from cmbnet.preprocess.qc import Finding
    from cmbnet.volume import Volume

PICTURES = 6
"""Number of lesions that a notebook shows. The report shows all."""


class LesionTable(Sequence["Lesion"]):
    """A table of lesions in order of their score, with the columns of ``lesions.csv``."""

    def __init__(self, lesions: Sequence[Lesion]) -> None:
        self._lesions = tuple(lesions)

    @overload
    def __getitem__(self, index: int) -> Lesion: ...

    @overload
    def __getitem__(self, index: slice) -> LesionTable: ...

    def __getitem__(self, index: int | slice) -> Lesion | LesionTable:
        if isinstance(index, slice):
            return LesionTable(self._lesions[index])
        return self._lesions[index]

    def __len__(self) -> int:
        return len(self._lesions)

    def __iter__(self) -> Iterator[Lesion]:
        return iter(self._lesions)

    def to_pandas(self) -> Any:
        """Return the table as a `pandas.DataFrame` with a row for each lesion.

        Raises:
            ImportError: If pandas is not installed.
        """
        import pandas

        return pandas.read_csv(io.StringIO(lesions_csv(self._lesions)))

    def __repr__(self) -> str:
        rows = [
            f"  {one.id}: {one.max_in_plane_diameter_mm:.1f} mm, score {one.score:.2f}, at "
            f"({', '.join(f'{mm:.0f}' for mm in one.centre_ras_mm)}) mm"
            for one in self._lesions
        ]
        return "\n".join([f"{len(rows)} lesions", *rows])


class Found:
    """The result of a prediction: lesions, masks, warnings.

    Attributes:
        prediction: The whole output of the pipeline.
    """

    def __init__(self, prediction: Prediction) -> None:
        self.prediction = prediction

    @property
    def lesions(self) -> LesionTable:
        """The microbleeds, the best score first."""
        return LesionTable(self.prediction.found.lesions)

    @property
    def excluded(self) -> LesionTable:
        """Candidates that a rule excluded. `Lesion.reason` says why."""
        return LesionTable(self.prediction.found.excluded)

    @property
    def mask(self) -> Volume:
        """Mask on the grid of the scan, uint8, 1 in lesions."""
        return self.prediction.volume.with_data(self.prediction.mask.astype(np.uint8))

    @property
    def labels(self) -> Volume:
        """Labels on the grid of the scan, uint16, the `Lesion.id` in each lesion."""
        return self.prediction.volume.with_data(self.prediction.found.labels)

    @property
    def probability(self) -> Volume:
        """Probability map on the grid of the scan, float32, 0 to 1."""
        return self.prediction.probability

    @property
    def positive(self) -> bool:
        """Whether the scan as a whole is called positive."""
        return self.prediction.positive

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The warnings of the quality gate."""
        return tuple(f for f in self.prediction.quality.findings if f.severity != "info")

    @property
    def result(self) -> Result:
        """The content of ``result.json``, as a pydantic model."""
        return build_result(self.prediction, case=self._case)

    @property
    def _case(self) -> str:
        return self.prediction.record.file or "scan"

    def save(self, folder: str | os.PathLike[str], **options: Any) -> Path:
        """Write the files that ``cmbnet predict`` writes for a case, and return ``report.html``.

        Args:
            folder: Folder of the case. It is made if it is missing. Files of an earlier run are
                replaced.
            options: Fields of `Request` that replace those of the prediction, such as
                ``save_probability=True`` or, for a DICOM scan, ``dicom_sr=True``.

        Raises:
            OSError: If the file system refuses.
            UsageError: If DICOM objects are wanted and the scan is not DICOM.
        """
        where = Path(folder)
        request = self.prediction.request.but(**options)
        write_prediction(replace(self.prediction, request=request), where)
        return where / "report.html"

    def __repr__(self) -> str:
        return f"Found({headline(self.result)!r})"

    def _repr_html_(self) -> str:
        """Return a summary and pictures as HTML, for notebooks."""
        painter = Painter(self.prediction)
        return render(
            "found.html",
            headline=headline(self.result),
            warnings=self.warnings,
            pictures=[(lesion, painter.tile(lesion)) for lesion in self.lesions[:PICTURES]],
            notice=RESEARCH_USE_ONLY,
        )
