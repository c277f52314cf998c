"""The choice of the SWI: rules that score, refuse and say why.

A description alone never decides. An objection is either final (the stack is no volume of grey
values) or a matter of choice (it is no SWI, it has few slices). If a user names the series,
objections of choice are ignored, and the notes of the volume say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pydicom import config, uid

from cmbnet.io.dicom.frames import Frame, holds_mosaic, numbers, text, words
from cmbnet.io.dicom.geometry import Grid, axial_tilt_degrees, place_on_grid, repeats
from cmbnet.io.dicom.grouping import Stack
from cmbnet.io.dicom.kinds import SWI_NAME, ImageKind, label_kind
from cmbnet.io.dicom.privacy import patient_identifiers, scrub
from cmbnet.io.dicom.repeats import in_order

_SOP_CLASSES = {
    uid.MRImageStorage: "MR",
    uid.EnhancedMRImageStorage: "enhanced MR",
    uid.LegacyConvertedEnhancedMRImageStorage: "legacy-converted enhanced MR",
}
_LONGEST = 256
"""Of a description that is shown: the standard allows 64 letters, a damaged header any number."""

_HEAD = ("HEAD", "BRAIN", "SKULL", "NEURO")
_OTHER_PARTS = re.compile(
    r"""(?<![A-Z]) (
    ABDOMEN(PELVIS)? | ADRENAL | ANKLE | AORTA | ARM | AXILLA | BACK | BLADDER | BREAST | BRONCHUS
    | BUTTOCK | CALCANEUS | CALF | CERVIX | CHEST(ABDOMEN|ABDPELVIS)? | CLAVICLE | COCCYX | COLON
    | DUODENUM | ELBOW | ESOPHAGUS | EXTREMITY | FEMUR | FINGER | FOOT | FOREARM | GALLBLADDER
    | HAND | HEART | HIP | HUMERUS | ILIUM | INTESTINE | KIDNEY | KNEE | LARYNX | LEG | LIVER
    | LUMBAR | LUNG | MEDIASTINUM | NECK(CHEST)? | OVARY | PANCREAS | PELVIS | PENIS | PROSTATE
    | RECTUM | RIB | SACRUM | SCAPULA | SCROTUM | SHOULDER | [CTLS]{0,2}SPINE | SPLEEN | STERNUM
    | STOMACH | TESTIS | THIGH | THORAX | THUMB | TOE | TRACHEA | UTERUS | VAGINA | WRIST
    ) (?![A-Z])""",
    re.VERBOSE,
)
"""Of the defined terms (PS3.16 annex L) and what is often written for them. A word that stands in
neither list may be "head" in any language."""

_EXCLUDED = (
    ImageKind.PROJECTION,
    ImageKind.PHASE,
    ImageKind.REAL,
    ImageKind.IMAGINARY,
    ImageKind.MAP,
    ImageKind.LOCALIZER,
)


@dataclass(frozen=True, slots=True)
class SelectionRules:
    """The rules for a stack that is read without being named.

    Args:
        fewest_slices: Smallest number of slices. A brain in fewer slices is not whole.
        largest_spacing_mm: Largest spacing along any axis.
        largest_tilt_degrees: Largest tilt of the slices from axial.
        allow_magnitude: Whether a gradient-echo magnitude is accepted if there is no SWI. The model
            was trained on SWI, so the notes warn of this.
        echo_range_ms: Usual echo times of SWI. They are only a point of the score.
    """

    fewest_slices: int = 20
    largest_spacing_mm: float = 5.0
    largest_tilt_degrees: float = 35.0
    allow_magnitude: bool = False
    echo_range_ms: tuple[float, float] = (15.0, 50.0)


DEFAULT_RULES = SelectionRules()


@dataclass(frozen=True, slots=True)
class Objection:
    """A reason against a stack.

    Args:
        message: A sentence without a full stop.
        final: Whether the objection holds even if the series is named.
    """

    message: str
    final: bool


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """The verdict on one stack.

    Args:
        key: Key for `read_dicom(..., series=key)`.
        series_instance_uid: UID of its series.
        description: SeriesDescription, without words that name the patient.
        kind: Meaning of its grey values.
        images: Number of frames.
        shape: Shape (z, y, x) of the volume. None if it is no volume.
        spacing_mm: Spacing along z, y, x. None if it is no volume.
        score: Points for being the SWI.
        points: Reasons of the points.
        objections: Reasons against it. Empty for a candidate.
        notes: Oddities that were accepted.
        chosen: Whether this stack is read if none is named.
    """

    key: str
    series_instance_uid: str
    description: str
    kind: ImageKind
    images: int
    shape: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    score: int
    points: tuple[str, ...]
    objections: tuple[Objection, ...]
    notes: tuple[str, ...]
    chosen: bool = False

    @property
    def status(self) -> str:
        """``"chosen"``, ``"candidate"``, or ``"refused"``."""
        if self.chosen:
            return "chosen"
        return "refused" if self.objections else "candidate"

    @property
    def readable(self) -> bool:
        """Whether it can be read by naming it."""
        return not any(objection.final for objection in self.objections)

    @property
    def reasons(self) -> str:
        """All objections in one line."""
        return "; ".join(objection.message for objection in self.objections)


@dataclass(frozen=True, slots=True)
class Judged:
    """A stack, its grid if it has one, and the verdict."""

    stack: Stack
    grid: Grid | None = field(repr=False)
    verdict: SeriesVerdict


def judge_all(
    stacks: Sequence[Stack], rules: SelectionRules = DEFAULT_RULES, frame: int | None = None
) -> list[Judged]:
    """Judge every stack. A stack that is SWI only by description is compared with its originals.

    A description is typed by people. A projection made at the console may be called SWI.

    Args:
        stacks: All stacks of one input.
        rules: The limits.
        frame: See `judge`.
    """
    originals = [stack for stack in stacks if _original(stack, rules)]
    judged = []
    for one in (judge(stack, rules, frame) for stack in stacks):
        source = next((stack for stack in originals if _made_of(one.stack, stack)), None)
        if source is None or not _swi_by_name_alone(one.stack):
            judged.append(one)
            continue
        reason = (
            "a derived image whose only sign of SWI is its description, beside the original "
            f"3D gradient echo of series {source.key}"
        )
        objections = (*one.verdict.objections, Objection(reason, final=False))
        judged.append(replace(one, verdict=replace(one.verdict, objections=objections)))
    return judged


def _swi_by_name_alone(stack: Stack) -> bool:
    derived = not {"DERIVED", "SECONDARY"}.isdisjoint(stack.frames[0].tokens)
    named = SWI_NAME.search(text(stack.frames[0].attributes, "SeriesDescription")) is not None
    return derived and named and stack.kind in (ImageKind.MAGNITUDE, ImageKind.UNKNOWN)


def _original(stack: Stack, rules: SelectionRules) -> bool:
    """Whether a stack is an original 3D gradient echo with the echo time of SWI, or with none."""
    first = stack.frames[0]
    original = "ORIGINAL" in first.tokens and "SECONDARY" not in first.tokens
    echo_fits = first.echo_ms is None or rules.echo_range_ms[0] <= first.echo_ms
    plain = stack.kind in (ImageKind.SWI, ImageKind.MAGNITUDE, ImageKind.UNKNOWN)
    return original and plain and echo_fits and _gradient_echo(first) and _is_3d(first)


def _made_of(stack: Stack, original: Stack) -> bool:
    """Whether both lie in one frame of reference, or in one study where none is stated."""
    attributes, others = stack.frames[0].attributes, original.frames[0].attributes
    for keyword in ("FrameOfReferenceUID", "StudyInstanceUID"):
        mine, its = text(attributes, keyword), text(others, keyword)
        if mine and its:
            return mine == its
    return False


def judge(stack: Stack, rules: SelectionRules = DEFAULT_RULES, frame: int | None = None) -> Judged:
    """Score a stack and collect every reason against it.

    Args:
        stack: What to judge.
        rules: The limits.
        frame: Number of the image to take, from 0, if a position has several.
    """
    objections = [Objection(reason, final=True) for reason in (*stack.faults, *_not_grey_mr(stack))]
    grid, reasons = _place(stack, frame)
    objections += [Objection(reason, final=True) for reason in reasons]
    score, points = _score(stack, rules)
    objections += [Objection(reason, final=False) for reason in _no_swi(stack, rules)]
    if grid is not None:
        objections += [Objection(reason, final=False) for reason in _unfit(stack, grid, rules)]
    verdict = SeriesVerdict(
        key=stack.key,
        series_instance_uid=stack.series_instance_uid,
        description=_description(stack),
        kind=stack.kind,
        images=len(stack.frames),
        shape=None if grid is None else (len(grid.order), *grid.order[0].shape),
        spacing_mm=None if grid is None else _spacing(grid),
        score=score,
        points=points,
        objections=tuple(objections),
        notes=(
            *stack.notes,
            *stack.numbering,
            *(() if grid is None else grid.notes),
            *_remarks(stack),
            *_in_place_of_swi(stack, rules),
        ),
    )
    return Judged(stack, grid, verdict)


def _place(stack: Stack, frame: int | None) -> tuple[Grid | None, tuple[str, ...]]:
    """The grid of a stack, of one image per position, and the reasons why it cannot be read."""
    if stack.kind is ImageKind.MOSAIC and not _plain_slices(stack):
        return None, (
            "a mosaic (many slices in one image) is not read: export it as a plain series",
        )
    count = repeats(stack.frames)
    if count == 1:
        return place_on_grid(stack.frames)
    images = in_order(stack.frames, count)
    if not images:
        return None, (
            f"a series of several images: {count} share each of {len(stack.frames) // count} "
            "positions, and nothing in the headers orders them alike at every position; export "
            "them as series of their own",
        )
    if frame is not None and 0 <= frame < count:
        return place_on_grid(images[frame])
    # The grid of the first stands for all, so that the table can show it.
    grid, reasons = place_on_grid(images[0])
    several = (
        f"a series of several images: {count} share each of {len(stack.frames) // count} "
        f"positions; choose one with frame 0 to {count - 1}"
    )
    return grid, (several, *reasons)


def _plain_slices(stack: Stack) -> bool:
    """Whether images lie as slices do: those of a mosaic all bear the place of its first slice."""
    return not holds_mosaic(stack.frames[0]) and place_on_grid(stack.frames)[0] is not None


def _in_place_of_swi(stack: Stack, rules: SelectionRules) -> Iterator[str]:
    named = SWI_NAME.search(text(stack.frames[0].attributes, "SeriesDescription")) is not None
    labelled = label_kind(text(stack.frames[0].attributes, "SeriesDescription"))
    plain = stack.kind in (ImageKind.MAGNITUDE, ImageKind.UNKNOWN)
    if rules.allow_magnitude and plain and (not named or labelled is ImageKind.MAGNITUDE):
        yield "magnitude in place of SWI, as asked for: the model was trained on SWI"


def _description(stack: Stack) -> str:
    header = stack.frames[0].attributes
    return scrub(text(header, "SeriesDescription")[:_LONGEST], patient_identifiers(header))


def _spacing(grid: Grid) -> tuple[float, float, float]:
    row_distance, column_distance = grid.order[0].pixel_spacing_mm or (0.0, 0.0)
    z = float((grid.affine[:3, 0] ** 2).sum() ** 0.5)
    return z, row_distance, column_distance


def _not_grey_mr(stack: Stack) -> Iterator[str]:
    """What no choice of the user can mend."""
    header = stack.frames[0].attributes
    if text(header, "Modality") != "MR":
        yield f"modality MR is required, got {_shown(text(header, 'Modality'))}"
    if text(header, "SOPClassUID") not in _SOP_CLASSES:
        yield f"MR images are required, got {_class_name(text(header, 'SOPClassUID'))}"
    photometric = text(header, "PhotometricInterpretation")
    if photometric != "MONOCHROME2":
        yield f"grey values (MONOCHROME2) are required, got {_shown(photometric)}"


def _shown(value: str) -> str:
    """A coded value for a message; whatever else stands there may be a piece of anything."""
    if not value:
        return "none"
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else "an invalid value"


def _class_name(value: str) -> str:
    name = uid.UID(value, config.IGNORE).name
    return "an unknown kind of object" if name == value else name


def _no_swi(stack: Stack, rules: SelectionRules) -> Iterator[str]:
    """Reasons by kind of image."""
    header = stack.frames[0].attributes
    description = text(header, "SeriesDescription")
    if stack.kind in _EXCLUDED:
        yield f"{stack.kind}: {_evidence(stack)}"
    plain = stack.kind in (ImageKind.SWI, ImageKind.MAGNITUDE, ImageKind.UNKNOWN)
    labelled = label_kind(description) if plain else None
    if labelled is ImageKind.PROJECTION or (labelled and not _label_passed(stack, labelled, rules)):
        yield f"{labelled} by its description"
    if plain and stack.kind is not ImageKind.SWI:
        yield from _only_magnitude(stack, rules)
    if text(header, "BurnedInAnnotation") == "YES":
        yield "the pixels bear burned-in annotation"
    if _spin_echo(stack.frames[0]):
        yield "spin echo: microbleeds do not show on it"
    if _elsewhere(_body_part(stack)):
        yield f"body part {_shown(_body_part(stack))}, not the head"


def _body_part(stack: Stack) -> str:
    return text(stack.frames[0].attributes, "BodyPartExamined").upper()


def _elsewhere(part: str) -> bool:
    """Whether a body part is one of those of DICOM that do not hold the head."""
    return not _says_head(part) and _OTHER_PARTS.search(part) is not None


def _says_head(part: str) -> bool:
    return any(word in part for word in _HEAD)


def _remarks(stack: Stack) -> Iterator[str]:
    """What is odd about the words of a header and takes nothing out."""
    part = _body_part(stack)
    if part and not _says_head(part) and not _elsewhere(part):
        yield f"body part {_shown(part)} is no word that is known: it was taken for the head"


def _label_passed(stack: Stack, labelled: ImageKind, rules: SelectionRules) -> bool:
    """The token SWI outweighs a label, and a magnitude may be asked for."""
    asked_for = labelled is ImageKind.MAGNITUDE and rules.allow_magnitude
    return asked_for or stack.kind is ImageKind.SWI


def _only_magnitude(stack: Stack, rules: SelectionRules) -> Iterator[str]:
    header = stack.frames[0].attributes
    named = SWI_NAME.search(text(header, "SeriesDescription")) is not None
    siemens = text(header, "Manufacturer").upper().startswith("SIEMENS")
    if rules.allow_magnitude and _gradient_echo(stack.frames[0]):
        return
    if not named:
        yield "no sign of SWI in image type or description"
    elif siemens:
        # On Siemens the processed SWI always bears the token; magnitude and phase of the same
        # protocol share its description.
        yield "image type without the token SWI that Siemens gives its SWI"


def _evidence(stack: Stack) -> str:
    first = stack.frames[0]
    words = sorted(first.tokens - {"ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", ""})
    identifiers = patient_identifiers(first.attributes)
    shown = scrub("\\".join(word[:16] for word in words[:8]), identifiers)
    if first.ge_kind in (1, 2, 3):
        return f"GE image kind {first.ge_kind}"
    return f"image type {shown}" if shown else f"component {_shown(first.component)}"


def _score(stack: Stack, rules: SelectionRules) -> tuple[int, tuple[str, ...]]:
    first = stack.frames[0]
    low, high = rules.echo_range_ms
    table = (
        (5, "image type says SWI", stack.kind is ImageKind.SWI),
        (3, "description names SWI", SWI_NAME.search(text(first.attributes, "SeriesDescription"))),
        (1, "3D gradient echo", _gradient_echo(first) and _is_3d(first)),
        (
            1,
            f"echo time {low:g} to {high:g} ms",
            first.echo_ms is not None and low <= first.echo_ms <= high,
        ),
        (-2, "secondary: reformatted at the console", "SECONDARY" in first.tokens),
    )
    given = [(points, why) for points, why, holds in table if holds]
    return sum(points for points, _ in given), tuple(f"{points:+d} {why}" for points, why in given)


def _gradient_echo(frame: Frame) -> bool:
    sequence = words(frame.attributes.get("ScanningSequence"))
    return "GR" in sequence or text(frame.attributes, "EchoPulseSequence").upper() == "GRADIENT"


def _spin_echo(frame: Frame) -> bool:
    sequence = words(frame.attributes.get("ScanningSequence"))
    stated = "SE" in sequence and "GR" not in sequence
    return stated or text(frame.attributes, "EchoPulseSequence").upper() == "SPIN"


def _is_3d(frame: Frame) -> bool:
    return text(frame.attributes, "MRAcquisitionType").upper() == "3D"


def _unfit(stack: Stack, grid: Grid, rules: SelectionRules) -> Iterator[str]:
    """Reasons by geometry, on a grid that can be read."""
    if stack.kind is ImageKind.MOSAIC:
        yield "image type says mosaic, though each image lies in a place of its own as a slice does"
    if len(grid.order) < rules.fewest_slices:
        yield f"too few slices: at least {rules.fewest_slices}, got {len(grid.order)}"
    spacing = _spacing(grid)
    if max(spacing) > rules.largest_spacing_mm:
        yield f"too coarse: at most {rules.largest_spacing_mm:g} mm, got {max(spacing):.2f} mm"
    tilt = axial_tilt_degrees(grid.affine)
    if tilt > rules.largest_tilt_degrees:
        yield f"{tilt:.0f} degrees from axial, at most {rules.largest_tilt_degrees:g} are taken"


def field_strength_t(frame: Frame) -> float | None:
    """Return the field strength in tesla. Some scanners state it in gauss."""
    stated = numbers(frame.attributes.get("MagneticFieldStrength"), 1)
    if not stated or stated[0] <= 0:
        return None
    return stated[0] / 1e4 if stated[0] > 100 else stated[0]
