"""Reasons against a stack, each in words: what cannot be read, what is no SWI, what is unfit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom import config, uid

from cmbnet.io.dicom.frames import Frame, text, words
from cmbnet.io.dicom.geometry import Grid, axial_tilt_degrees
from cmbnet.io.dicom.grouping import Stack
from cmbnet.io.dicom.kinds import SWI_NAME, ImageKind, label_kind
from cmbnet.io.dicom.privacy import patient_identifiers, scrub
from cmbnet.io.dicom.verdict import SelectionRules

_SOP_CLASSES = (
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
)
PLAIN = (ImageKind.SWI, ImageKind.MAGNITUDE, ImageKind.UNKNOWN)
"""Kinds that may be SWI. Only a mosaic, which may be misnamed, is judged like them."""

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


def not_grey_mr(stack: Stack) -> Iterator[str]:
    """Yield what no choice of the user can mend."""
    header = stack.frames[0].attributes
    if text(header, "Modality") != "MR":
        yield f"modality MR is required, got {_shown(text(header, 'Modality'))}"
    if text(header, "SOPClassUID") not in _SOP_CLASSES:
        yield f"MR images are required, got {_class_name(text(header, 'SOPClassUID'))}"
    photometric = text(header, "PhotometricInterpretation")
    if photometric != "MONOCHROME2":
        yield f"grey values (MONOCHROME2) are required, got {_shown(photometric)}"


def no_swi(stack: Stack, rules: SelectionRules) -> Iterator[str]:
    """Yield reasons by the kind of image, its description, its sequence and its body part."""
    first = stack.frames[0]
    plain = stack.kind in PLAIN
    if not plain and stack.kind is not ImageKind.MOSAIC:
        yield f"{stack.kind}: {_signs(first)}"
    label = label_kind(text(first.attributes, "SeriesDescription")) if plain else None
    asked_for = label is ImageKind.MAGNITUDE and rules.allow_magnitude
    # The token SWI outweighs a label, but for a projection, which bears it, too.
    outweighed = asked_for or stack.kind is ImageKind.SWI
    if label is ImageKind.PROJECTION or (label and not outweighed):
        yield f"{label} by its description"
    if plain and stack.kind is not ImageKind.SWI:
        yield from _only_magnitude(stack, rules)
    if text(first.attributes, "BurnedInAnnotation") == "YES":
        yield "the pixels bear burned-in annotation"
    if _spin_echo(first):
        yield "spin echo: microbleeds do not show on it"
    if _other_part(_body_part(stack)):
        yield f"body part {_shown(_body_part(stack))}, not the head"


def unfit(stack: Stack, grid: Grid, rules: SelectionRules) -> Iterator[str]:
    """Yield reasons by geometry, on a grid that can be read."""
    if stack.kind is ImageKind.MOSAIC:
        yield "image type says mosaic, though each image lies in a place of its own as a slice does"
    if len(grid.order) < rules.fewest_slices:
        yield f"too few slices: at least {rules.fewest_slices}, got {len(grid.order)}"
    coarsest = max(grid.spacing_mm)
    if coarsest > rules.largest_spacing_mm:
        yield f"too coarse: at most {rules.largest_spacing_mm:g} mm, got {coarsest:.2f} mm"
    tilt = axial_tilt_degrees(grid.affine)
    if tilt > rules.largest_tilt_degrees:
        yield f"{tilt:.0f} degrees from axial, at most {rules.largest_tilt_degrees:g} are taken"


def oddities(stack: Stack, rules: SelectionRules) -> Iterator[str]:
    """Yield what is odd about a stack and no reason against it."""
    part = _body_part(stack)
    if part and not _says_head(part) and not _other_part(part):
        yield f"body part {_shown(part)} is no word that is known: it was taken for the head"
    label = label_kind(text(stack.frames[0].attributes, "SeriesDescription"))
    magnitude = stack.kind in (ImageKind.MAGNITUDE, ImageKind.UNKNOWN)
    named = named_swi(stack) and label is not ImageKind.MAGNITUDE
    if rules.allow_magnitude and magnitude and not named:
        yield "magnitude in place of SWI, as asked for: the model was trained on SWI"


def named_swi(stack: Stack) -> bool:
    """Return whether the series description names SWI."""
    return SWI_NAME.search(text(stack.frames[0].attributes, "SeriesDescription")) is not None


def gradient_echo(frame: Frame) -> bool:
    """Return whether the header states a gradient echo."""
    sequence = words(frame.attributes.get("ScanningSequence"))
    return "GR" in sequence or text(frame.attributes, "EchoPulseSequence").upper() == "GRADIENT"


def _spin_echo(frame: Frame) -> bool:
    sequence = words(frame.attributes.get("ScanningSequence"))
    stated = "SE" in sequence and "GR" not in sequence
    return stated or text(frame.attributes, "EchoPulseSequence").upper() == "SPIN"


def _only_magnitude(stack: Stack, rules: SelectionRules) -> Iterator[str]:
    first = stack.frames[0]
    if rules.allow_magnitude and gradient_echo(first):
        return
    if not named_swi(stack):
        yield "no sign of SWI in image type or description"
    elif text(first.attributes, "Manufacturer").upper().startswith("SIEMENS"):
        # On Siemens the processed SWI always bears the token; magnitude and phase of the same
        # protocol share its description.
        yield "image type without the token SWI that Siemens gives its SWI"


def _signs(frame: Frame) -> str:
    """The words of a header that tell the kind of an image."""
    tokens = sorted(frame.tokens - {"ORIGINAL", "DERIVED", "PRIMARY", "SECONDARY", ""})
    identifiers = patient_identifiers(frame.attributes)
    shown = scrub("\\".join(word[:16] for word in tokens[:8]), identifiers)
    if frame.ge_kind in (1, 2, 3):
        return f"GE image kind {frame.ge_kind}"
    return f"image type {shown}" if shown else f"component {_shown(frame.component)}"


def _body_part(stack: Stack) -> str:
    return text(stack.frames[0].attributes, "BodyPartExamined").upper()


def _other_part(part: str) -> bool:
    """Whether a body part is one of those of DICOM that do not hold the head."""
    return not _says_head(part) and _OTHER_PARTS.search(part) is not None


def _says_head(part: str) -> bool:
    return any(word in part for word in _HEAD)


def _shown(value: str) -> str:
    """A coded value for a message; whatever else stands there may be a piece of anything."""
    if not value:
        return "none"
    return value if re.fullmatch(r"[A-Z0-9_ ]{1,16}", value) else "an invalid value"


def _class_name(value: str) -> str:
    name = uid.UID(value, config.IGNORE).name
    return "an unknown kind of object" if name == value else name
