"""What a reader says: marks, the actions of the log, and ``verdicts.json``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Judgement = Literal["accept", "reject", "uncertain"]
Kind = Literal["vein", "calcification", "artefact", "other"]
Certainty = Literal["definite", "possible"]
Arm = Literal["with", "without"]
"""Whether the reader could see the model's answer."""

Note = Annotated[str, Field(max_length=2000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mark(_Strict):
    """A lesion of the model with the reader's judgement, or a lesion that the reader added.

    Attributes:
        id: ``"3"`` for lesion 3 of the model, ``"r1"`` for the first that the reader added.
        judgement: What the reader says of it; None while nothing was said.
        kind: What a rejected lesion is instead. None if it was not rejected.
        certainty: Whether the reader is sure of an accepted lesion.
        note: Text of the reader.
        voxels: Indices of its voxels in the flattened (z, y, x) array of the scan, ascending. None
            takes the model's outline.
        seed: Voxel (z, y, x) from which the outline of an added lesion grew.
        share: Level of that outline (`cmbnet.lesions.dark_spot`).
        removed: Whether the reader took an added lesion back.
    """

    id: Annotated[str, Field(pattern=r"^r?[1-9][0-9]{0,5}$")]
    judgement: Judgement | None = None
    kind: Kind | None = None
    certainty: Certainty = "definite"
    note: Note = ""
    voxels: tuple[int, ...] | None = None
    seed: tuple[int, int, int] | None = None
    share: float | None = None
    removed: bool = False

    @property
    def added(self) -> bool:
        """Whether the reader added it."""
        return self.id.startswith("r")


class Action(_Strict):
    """One line of the log.

    Attributes:
        case: Name of the case.
        do: What was done: ``mark`` sets marks, ``note`` the note of the case, ``reveal`` ends the
            part that is read without the model, ``finish`` ends the case, ``undo`` takes the last
            of these back, and ``time`` only adds time.
        revision: Number of actions of the case before this one, without those that only add time.
        at: Time, ISO 8601 with offset.
        arm: Whether the model's answer could be seen.
        seconds: Time that the reader worked on the case since the action before, without pauses.
        result: Hash of the model's answer to which the action belongs.
        marks: The marks that are set.
        note: The note that is set.
    """

    case: str
    do: Literal["mark", "note", "reveal", "finish", "undo", "time"]
    revision: Annotated[int, Field(ge=0)]
    at: str
    arm: Arm
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    result: str
    marks: tuple[Mark, ...] = ()
    note: Note = ""


class Verdict(_Strict):
    """What ``verdicts.json`` says of a lesion of the model, or of one that the reader added.

    Attributes:
        label: Its number in ``lesions.nii.gz`` (and ``ignore.nii.gz``, if it is uncertain).
        source: Who found it.
        judgement: What the reader says of it.
        kind: What a rejected lesion is instead.
        certainty: Whether the reader is sure of an accepted lesion.
        note: Text of the reader.
        outline: Who drew the outline: the model, the rule for dark spots, or the reader's brush.
        score: Score of the model's lesion. None for an added one.
        region: Approximate region of the model's lesion. Empty for an added one.
        centre_ras_mm: Centre in world coordinates, RAS+.
        voxel_ijk: Voxel of the centre, in the order of the image file.
        volume_mm3: Volume.
        max_in_plane_diameter_mm: Length in its longest slice.
        found_alone: Whether the reader had marked this place before the model's answer was shown.
            None if the answer was shown from the start.
    """

    label: int
    source: Literal["model", "reader"]
    judgement: Judgement
    kind: Kind | None
    certainty: Certainty
    note: str
    outline: Literal["model", "dark spot", "painted"]
    score: float | None
    region: str
    centre_ras_mm: tuple[float, float, float]
    voxel_ijk: tuple[int, int, int]
    volume_mm3: float
    max_in_plane_diameter_mm: float
    found_alone: bool | None


class CaseReview(_Strict):
    """A finished case of ``verdicts.json``.

    Attributes:
        case: Name of the case.
        input_sha256: Hash of the scan.
        bundle_sha256: Hash of the model.
        arms: Whether the reader read the case without the model's answer, with it, or both in this
            order.
        finished: Time at which the reader finished, ISO 8601 with offset.
        seconds_without: Time of the reader while the model's answer was hidden, without pauses.
        seconds_with: Time of the reader with the model's answer, without pauses.
        note: Text of the reader about the case.
        verdicts: One for each lesion of the model and each added lesion.
    """

    case: str
    input_sha256: str
    bundle_sha256: str
    arms: tuple[Arm, ...]
    finished: str
    seconds_without: float
    seconds_with: float
    note: str
    verdicts: tuple[Verdict, ...]


class Review(_Strict):
    """The whole content of ``verdicts.json``: the finished cases of one reader."""

    format: Literal[1] = 1
    notice: str
    reader: str
    cases: tuple[CaseReview, ...]
