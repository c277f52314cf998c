"""The quality gate. It says "not analysable" where "0 microbleeds" would mislead.

The docstring of each threshold has measured values. They come from the files of the test data set
(without patients with microbleeds), from synthetic contrasts made from the ICBM152 tissue maps, and
from phantoms. `benchmarks/preprocess.py` prints the table. If a measure does not separate good from
bad scans, it only warns. Low-resolution perfusion EPI (``pcasl``) is an example. Its contrast
measures like that of a T2*-weighted brain, and the gate warns only of its coarse voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from cmbnet.preprocess.measures import QualityMeasures, measure_quality

if TYPE_CHECKING:
    from cmbnet.preprocess.case import PreparedCase
    from cmbnet.volume import Volume

Severity = Literal["info", "warning", "refuse"]

MIN_BRAIN_ML: Final = 100.0
"""A scan with less is not a brain scan: crops of the neck and of a 7 T brain 11 and 24 ml,
half-size phantoms 230, a coronal brain cut at both ends 626, whole brains 930 to 2030."""

PART_BRAIN_ML: Final = 800.0
"""The gate warns that a scan with less shows only a part of a brain."""

MAX_BRAIN_ML: Final = 2500.0
"""More is no head: a bottle phantom 3640, and 2680 by the learned mask; the largest brain mask of a
head 2280."""

MIN_LARGEST_SHARE: Final = 0.8
"""Less is no single brain: the learned mask of two heads in one field of view holds a half."""

MIN_CERTAINTY: Final = 0.9
"""Less is a guess of the learned mask: crops and noise 0.81 to 0.84, whole heads 0.92 and more."""

MIN_STRUCTURE: Final = 0.032
"""A scan with less is a bottle: uniform phantom 0.022; brain whose tissues differ by 10 % 0.047,
heads of the phantom 0.056 to 0.083, real gradient-echo brains 0.11 to 0.18."""

MAX_DEEP_DARK: Final = 0.05
"""A scan with more is not a brain: neck 0.083 and 0.171, bottle with bars 0.070, gradient-echo
brains <= 0.003."""

T1_DEEP_DARK: Final = 0.010
"""A scan with more, alike left and right, has dark CSF: T1-like 0.012 to 0.024, FLAIR-like 0.017,
gradient-echo brains <= 0.003 (CSF of SWI keeps 0.7 of white matter and is not dark here). In only
one half it may be a haemorrhage, so the gate warns."""

HAEMORRHAGE_ASYMMETRY: Final = 0.3
"""From this value on, dark places count as one-sided: T1-like and FLAIR-like <= 0.12."""

WARN_DEEP_DARK: Final = 0.005
"""From this value on, the gate warns of dark places."""

MAX_DEEP_BRIGHT: Final = 0.05
"""A scan with more has bright CSF: spin-echo diffusion 0.071, T2-like 0.070; gradient-echo EPI
0.012 to 0.027, gradient echo 0.007."""

MAX_NOISE: Final = 0.35
"""With more noise a microbleed is lost (white matter below 3 x the noise): noise files 0.63, the
noisiest real brain 0.082, mostly from anatomy at 3 mm."""

WARN_NOISE: Final = 0.15
"""From this value on, faint microbleeds are lost."""

MAX_NEGATIVE: Final = 0.2
"""A scan with more is a phase image or field map: magnitude has none, phase about a half."""

OPEN_END: Final = 0.6
"""If both end slices have this share of the largest slice, the scan is a slab (neck 0.69 and 1.0,
slab EPI 0.86 and 0.80)."""

CUT_END: Final = 0.4
"""An end slice with this share of the largest slice lies inside the brain. A phantom has 0.44 if 20
mm are missing at the top, and 0.48 if 40 mm are missing at the base. Whole brains have 0.0 to 0.26,
also with slices of 4 mm. Two scans of thicker slices (0.43 at the base, 0.45 at the top) end inside
the brain."""

MIN_MASK_COVER: Final = 0.7
"""A brain mask that covers less of the estimated brain leaves out a part. The true brain masks of
two phantoms cover 0.91 and 0.92, because the estimate is rather too large."""

MAX_SLICE_MM: Final = 3.5
MAX_PIXEL_MM: Final = 1.1
MIN_PIXEL_MM: Final = 0.15
MAX_PIXEL_RATIO: Final = 1.25
MAX_THROUGH_RATIO: Final = 1.5


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact that a reader of the result should know.

    Args:
        code: Stable name, snake_case.
        severity: ``info``, ``warning`` (read the result with care), ``refuse`` (not analysable).
        message: The fact in words, and what to do about it.
    """

    code: str
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class QualityReport:
    """The judgement of the gate about a scan.

    Args:
        findings: All findings, refusals first, then warnings, then remarks.
        analysable: False if any finding refuses.
        measures: The measures that led to the findings.
    """

    findings: tuple[Finding, ...]
    analysable: bool
    measures: QualityMeasures


def check_quality(volume: Volume, prepared: PreparedCase) -> QualityReport:
    """Judge whether a result about microbleeds on this scan would be meaningful.

    Notes of the volume become remarks. It raises nothing; the caller decides what to do with a scan
    that is not analysable. Return the report.
    """
    measures = measure_quality(volume, prepared)
    findings: list[Finding] = []
    # What is noise has no anatomy, and what is no brain no contrast: the first refusal speaks.
    for group in (_grain(measures), _anatomy(measures, prepared), _contrast(measures)):
        findings += group
        if any(finding.severity == "refuse" for finding in group):
            break
    findings += _geometry(prepared, volume)
    findings += _given(prepared, volume)
    findings += [Finding("reading", "info", note) for note in volume.notes]
    findings += [Finding("preprocessing", "info", note) for note in prepared.notes]
    order: tuple[Severity, ...] = ("refuse", "warning", "info")
    findings.sort(key=lambda finding: order.index(finding.severity))
    analysable = all(finding.severity != "refuse" for finding in findings)
    return QualityReport(tuple(findings), analysable, measures)


def _anatomy(measures: QualityMeasures, prepared: PreparedCase) -> list[Finding]:
    """Check whether there is a brain, and how much of it."""
    ml = measures.brain_ml
    if not prepared.brain_found:
        return _refuse("no_brain", "no brain was found; give a scan of the head or a brain mask")
    if ml < MIN_BRAIN_ML:
        return _refuse(
            "too_small",
            f"only {ml:.0f} ml of brain are in the scan, at least {MIN_BRAIN_ML:.0f} are "
            "required; give the whole scan, not a crop",
        )
    if ml > MAX_BRAIN_ML:
        return _refuse(
            "not_a_brain",
            f"the object measures {ml:.0f} ml, more than any brain; is this a phantom?",
        )
    if unsure := _mask(prepared):
        return unsure
    if measures.structure < MIN_STRUCTURE:
        return _refuse(
            "not_a_brain",
            f"the inside is uniform (structure {measures.structure:.3f}, a brain shows more "
            f"than {MIN_STRUCTURE}); is this a phantom?",
        )
    if measures.deep_dark > MAX_DEEP_DARK and measures.dark_asymmetry < HAEMORRHAGE_ASYMMETRY:
        return _refuse(
            "not_a_brain",
            f"{measures.deep_dark:.0%} of the inside is dark like bone or air; a scan of the "
            "head is required (neck, joint or phantom?)",
        )
    return _coverage(measures)


def _mask(prepared: PreparedCase) -> list[Finding]:
    """Check whether the learned mask is one brain, and sure of it."""
    if prepared.brain_largest_share < MIN_LARGEST_SHARE:
        return _refuse(
            "brain_in_pieces",
            f"what looks like brain lies in pieces, the largest holds "
            f"{prepared.brain_largest_share:.0%} of it; give one whole head, or a brain mask",
        )
    if prepared.brain_certainty < MIN_CERTAINTY:
        return _refuse(
            "brain_unsure",
            f"the brain mask is a guess (certainty {prepared.brain_certainty:.2f}, at least "
            f"{MIN_CERTAINTY} is required); look at the scan, or give a brain mask",
        )
    return []


def _coverage(measures: QualityMeasures) -> list[Finding]:
    """Check whether a part of the brain lies outside the scan."""
    if min(measures.end_area) > OPEN_END:
        return _warn(
            "slab",
            "neither the top nor the base of the brain is in the scan; microbleeds outside "
            "the slab are not counted",
        )
    findings = []
    ends = zip(("base", "top"), measures.end_area, strict=True)
    cut = {name: area for name, area in ends if area > CUT_END}
    if cut:
        areas = " and ".join(f"{area:.0%}" for area in cut.values())
        findings += _warn(
            "cut_off",
            f"the scan ends inside the brain at its {' and '.join(cut)} (the outermost slice "
            f"holds {areas} of the largest area of brain); microbleeds beyond it are not "
            "counted, look whether slices are missing",
        )
    if measures.brain_ml < PART_BRAIN_ML:
        findings += _warn(
            "part_of_brain",
            f"only {measures.brain_ml:.0f} ml of brain are in the scan; microbleeds outside "
            "it are not counted",
        )
    return findings


def _contrast(measures: QualityMeasures) -> list[Finding]:
    """Check whether the image can be T2*-weighted magnitude."""
    if measures.negative > MAX_NEGATIVE:
        return _refuse(
            "phase_image",
            f"{measures.negative:.0%} of the voxels are negative: a phase image or field map; "
            "give the magnitude or SWI",
        )
    if measures.deep_bright > MAX_DEEP_BRIGHT:
        return _refuse(
            "no_t2star_contrast",
            f"{measures.deep_bright:.0%} of the inside is far brighter than the tissue around "
            "it, as CSF on T2- or diffusion-weighted images; give a T2*-weighted scan or SWI",
        )
    one_sided = measures.dark_asymmetry >= HAEMORRHAGE_ASYMMETRY
    if measures.deep_dark > T1_DEEP_DARK and not one_sided:
        return _refuse(
            "no_t2star_contrast",
            f"{measures.deep_dark:.1%} of the inside is dark on both sides alike, as CSF on "
            "T1-weighted or FLAIR images; give a T2*-weighted scan or SWI",
        )
    if measures.deep_dark > WARN_DEEP_DARK:
        return _warn(
            "large_dark_places",
            f"{measures.deep_dark:.1%} of the inside is dark over more than 3 mm: "
            "haemorrhage, implant, or not T2*-weighted; look at the images",
        )
    return []


def _grain(measures: QualityMeasures) -> list[Finding]:
    """Check whether noise hides the image."""
    if measures.noise > MAX_NOISE:
        return _refuse(
            "noise",
            f"noise is {measures.noise:.0%} of white matter, more than {MAX_NOISE:.0%}: no "
            "microbleed would show; repeat the scan",
        )
    if measures.noise > WARN_NOISE:
        return _warn(
            "noisy",
            f"noise is {measures.noise:.0%} of white matter; faint microbleeds may be missed",
        )
    return []


def _geometry(prepared: PreparedCase, volume: Volume) -> list[Finding]:
    """Check whether the voxels show lesions of 2-10 mm as the network knows them."""
    z_mm, y_mm, x_mm = (volume.spacing_mm[axis] for axis in prepared.frame.orientation.axes)
    findings = []
    if max(y_mm, x_mm) > MAX_THROUGH_RATIO * z_mm and max(y_mm, x_mm) > MAX_PIXEL_MM:
        findings += _warn(
            "not_axial",
            f"the scan is coarser in the axial plane ({y_mm:.2f} x {x_mm:.2f} mm) than across "
            f"it ({z_mm:.2f} mm), as a sagittal or coronal one; the network knows axial scans",
        )
    if z_mm > MAX_SLICE_MM:
        findings += _warn(
            "thick_slices",
            f"slices are {z_mm:.1f} mm apart, more than {MAX_SLICE_MM}; microbleeds between "
            "or within thick slices may be missed",
        )
    if max(y_mm, x_mm) > MAX_PIXEL_MM:
        findings += _warn(
            "coarse_pixels",
            f"pixels are {y_mm:.2f} x {x_mm:.2f} mm, more than {MAX_PIXEL_MM}; small "
            "microbleeds are not resolved",
        )
    if min(z_mm, y_mm, x_mm) < MIN_PIXEL_MM:
        findings += _warn(
            "tiny_voxels",
            f"voxels of {z_mm:.3f} x {y_mm:.3f} x {x_mm:.3f} mm are smaller than any scan "
            f"of a head ({MIN_PIXEL_MM} mm); is the unit mm?",
        )
    if max(y_mm, x_mm) > MAX_PIXEL_RATIO * min(y_mm, x_mm):
        findings += _warn(
            "oblong_pixels",
            f"pixels of {y_mm:.2f} x {x_mm:.2f} mm are not square; sizes across are less sure",
        )
    return findings


def _given(prepared: PreparedCase, volume: Volume) -> list[Finding]:
    """Check whether header or brain mask make a result doubtful."""
    findings = []
    if volume.forms is not None and volume.forms.mirrored:
        findings += _warn(
            "mirrored_header",
            "qform and sform of the header are mirror images of each other: programs do not "
            "agree on left and right of this scan, and results follow the sform; repair the "
            "header",
        )
    if prepared.mask_cover is not None and prepared.mask_cover < MIN_MASK_COVER:
        findings += _warn(
            "part_of_brain_mask",
            f"the brain mask covers {100 * prepared.mask_cover:.0f} % of what looks like "
            "brain; nothing was counted outside it",
        )
    return findings


def _refuse(code: str, message: str) -> list[Finding]:
    return [Finding(code, "refuse", message)]


def _warn(code: str, message: str) -> list[Finding]:
    return [Finding(code, "warning", message)]
