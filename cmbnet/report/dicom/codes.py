"""The coded words of SEG and SR. Words without a public code use the private scheme 99CMBNET."""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

from cmbnet.lesions import Lesion, SizeClass
from cmbnet.regions import Place

PRIVATE_SCHEME = "99CMBNET"


def schemes(*, compared: bool) -> list[CodingSchemeIdentificationItem]:
    """Identify the coding schemes that the standard does not list, as it requires."""
    own = CodingSchemeIdentificationItem(
        PRIVATE_SCHEME, name="Codes of the cmbnet project", responsible_organization="cmbnet"
    )
    elements = CodingSchemeIdentificationItem(
        RADELEMENT, name="RadElement common data elements", responsible_organization="ACR, RSNA"
    )
    return [own, elements] if compared else [own]


def _private(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, PRIVATE_SCHEME, meaning)


# In none of pydicom's dictionaries, but in the SNOMED CT that Synthea and others use.
MICROBLEED = CodedConcept("723857007", "SCT", "Silent micro-hemorrhage of brain")
CALCIFICATION = CodedConcept("18115005", "SCT", "Pathologic calcification")
ABNORMAL_STRUCTURE = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
MRI_OF_BRAIN = CodedConcept("241601008", "SCT", "MRI of brain")
BRAIN = CodedConcept("12738006", "SCT", "Brain")
ARTIFICIAL_INTELLIGENCE = CodedConcept("123109", "DCM", "Artificial Intelligence")

VOLUME = CodedConcept("YEKZ", "IBSI", "Volume from Voxel Summation")
VOXEL_SUM = CodedConcept("126030", "DCM", "Sum of segmented voxel method for volume")
DIAMETER = CodedConcept("81827009", "SCT", "Diameter")
EQUIVALENT_SPHERE = _private("DIAM-SPHERE", "Diameter of the sphere of equal volume")
MAX_IN_PLANE = _private("DIAM-PLANE", "Maximum in-plane diameter")
PROBABILITY = CodedConcept("122157", "DCM", "Probability")
COUNT = CodedConcept("246206008", "SCT", "Number of lesions")
IMAGES = _private("IMAGES", "Number of source images")
CENTRE = tuple(
    _private(f"CENTRE-{axis}", f"Centre of lesion, {axis} in patient coordinates (LPS)")
    for axis in "XYZ"
)

ECHO_TIME = _private("ECHO-TIME", "Echo time of the source images")
FIELD_STRENGTH = _private("FIELD", "Magnetic field strength of the source images")
VOXEL_SPACING = tuple(
    _private(f"VOXEL-{axis}", f"Voxel spacing of the source images along {axis}")
    for axis in ("SLICE", "ROW", "COLUMN")
)

STATUS = _private("STATUS", "Review status")
NOT_REVIEWED = _private("AI-CANDIDATE", "AI candidate, not reviewed")
REVIEWED = _private("READER-ACCEPTED", "Accepted by a reader")
SIZE_CLASS = _private("SIZE-CLASS", "Size class")
SIZE_CLASSES: dict[SizeClass, CodedConcept] = {
    "small": _private("SIZE-SMALL", "Small: 2 mm to less than 5 mm"),
    "large": _private("SIZE-LARGE", "Large: 5 mm to 10 mm"),
    "outside": _private("SIZE-OUTSIDE", "Outside the definition of a microbleed"),
}
REGION = _private("REGION", "Approximate region")
REGION_GROUP = _private("REGION-GROUP", "Group of the approximate region")
REGION_MARGIN = _private("REGION-MARGIN", "Distance to the next other region")
PATTERN = _private("PATTERN", "Pattern of the approximate regions")
COUNT_BAND = _private("COUNT-BAND", "Band of the count of candidates")
ARIA_BAND = _private("ARIA-BAND", "Band of the count by the cut points of ARIA-H")

RADELEMENT = "RADELEMENT"
ARIA_BASELINE = CodedConcept("RDES289", RADELEMENT, "ARIA baseline")
ARIA_H_FOLLOW_UP = CodedConcept("RDES291", RADELEMENT, "ARIA-H follow-up")
NEW_LESIONS = _private("NEW", "Number of new lesions since the first scan")
CHANGE = _private("CHANGE", "Change since the first scan")
CHANGES = {
    "new": CodedConcept("7147002", "SCT", "New"),
    "persistent": CodedConcept("58158008", "SCT", "Stable"),
    "larger": CodedConcept("263768009", "SCT", "Larger"),
    "smaller": CodedConcept("263796003", "SCT", "Smaller"),
    "newly above threshold": _private("CHANGE-ABOVE", "Newly above threshold, uncertain"),
    "split": _private("CHANGE-SPLIT", "Part of a lesion that was one"),
    "merged": _private("CHANGE-MERGED", "Merged from several lesions"),
    "not assessable": _private("CHANGE-UNSEEN", "Not assessable: not on the first scan"),
}
"""Codes of what became of a lesion of a later scan."""

QUALITY = CodedConcept("111050", "DCM", "Quality Assessment")
WITHOUT_FINDINGS = CodedConcept("111241", "DCM", "All algorithms succeeded; without findings")
WITH_FINDINGS = CodedConcept("111242", "DCM", "All algorithms succeeded; with findings")
NONE_SUCCEEDED = CodedConcept("111245", "DCM", "No algorithms succeeded; without findings")
INSUFFICIENT = CodedConcept("110531", "DCM", "Insufficient quality for interpretation")
COMMENT = CodedConcept("121106", "DCM", "Comment")

MILLIMETRE = CodedConcept("mm", "UCUM", "mm")
CUBIC_MILLIMETRE = CodedConcept("mm3", "UCUM", "mm3")
NO_UNIT = CodedConcept("1", "UCUM", "no units")
LESIONS = CodedConcept("{lesions}", "UCUM", "lesions")
IMAGES_READ = CodedConcept("{images}", "UCUM", "images")
MILLISECOND = CodedConcept("ms", "UCUM", "ms")
TESLA = CodedConcept("T", "UCUM", "Tesla")

BANDS = ((0, "0"), (1, "1"), (4, "2 to 4"), (10, "5 to 10"))
"""Highest count and name of each band. A larger count is ``"more than 10"``."""

ARIA_BANDS = ((0, "none"), (4, "mild (1 to 4)"), (9, "moderate (5 to 9)"))
"""Bands by the count of microbleeds. A larger count is ``"severe (10 or more)"``. ARIA-H counts new
lesions under treatment, and one scan cannot tell which lesions are new."""


def count_band(count: int) -> CodedConcept:
    """Return the band of a count.

    Examples:
        >>> [count_band(n).meaning for n in (0, 1, 4, 5, 11)]
        ['0', '1', '2 to 4', '5 to 10', 'more than 10']
    """
    name = next((name for highest, name in BANDS if count <= highest), "more than 10")
    return _private("BAND-" + name.upper().replace(" ", "")[:11], name)


def aria_category(category: str) -> CodedConcept:
    """Return a category of ARIA-H as a private code."""
    return _private(f"ARIA-{category.upper()}", category)


def baseline_band(name: str) -> CodedConcept:
    """Return a band of the number of lesions before treatment as a private code."""
    return _private("BASE-" + name.replace("> ", "OVER"), name)


def aria_band(count: int) -> CodedConcept:
    """Return the band of a count by the cut points of ARIA-H.

    Examples:
        >>> [aria_band(n).value for n in (0, 4, 5, 10)]
        ['ARIA-NONE', 'ARIA-MILD', 'ARIA-MODERATE', 'ARIA-SEVERE']
    """
    name = next((name for highest, name in ARIA_BANDS if count <= highest), "severe (10 or more)")
    return _private("ARIA-" + name.split(" ", maxsplit=1)[0].upper(), name)


_MEANINGS = {"deep white matter": "Cerebral white matter"}
"""Meanings of codes that say less than the name of the region."""

_SITES = {
    "basal ganglia": "32610002",
    "deep white matter": "68523003",
    "frontal": "83251001",
    "parietal": "16630005",
    "temporal": "78277001",
    "occipital": "31065004",
    "insula": "36169008",
    "thalamus": "42695009",
    "internal capsule": "85637007",
    "external capsule": "10517005",
    "corpus callosum": "88442005",
    "brainstem": "119238007",
    "cerebellum": "113305005",
}


_SIDES = {
    "left": CodedConcept("7771000", "SCT", "Left"),
    "right": CodedConcept("24028007", "SCT", "Right"),
}


def finding(lesion: Lesion) -> CodedConcept:
    """Return the code of what a lesion is taken for."""
    return CALCIFICATION if lesion.removed_by == "phase" else MICROBLEED


def site(place: Place | None) -> CodedConcept:
    """Return the anatomical code of a place's region, or that of the whole brain."""
    code = None if place is None else _SITES.get(place.region)
    if place is None or code is None:
        return BRAIN
    return CodedConcept(code, "SCT", _MEANINGS.get(place.region, place.region.capitalize()))


def side(place: Place | None) -> CodedConcept | None:
    """Return the code of a place's side, or None for the middle and where it is unknown."""
    return None if place is None else _SIDES.get(place.side)


def region_code(place: Place) -> CodedConcept:
    """Return a region's name as a private code, because no public code says "approximate"."""
    value = "".join(letter for letter in place.region.upper() if letter.isalnum())
    return _private(f"REG-{value[:12]}", place.region)


def group_code(place: Place) -> CodedConcept:
    """Return the group of a region as a private code."""
    return _private(f"GROUP-{place.group[:9].upper()}", place.group)


def pattern_code(pattern: str) -> CodedConcept:
    """Return the pattern of a scan as a private code."""
    return _private("PATTERN-" + pattern.rsplit(" ", maxsplit=1)[-1].upper(), pattern)
