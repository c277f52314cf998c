"""The rules that decide which candidates are microbleeds, each with its reason in words.

The defaults are conservative: apart from the rules of size, which are the definition of what is
counted, a rule removes only what no microbleed looks like. A new rule is a file in this folder
and a line in `RULES` (docs/how-to/extend.md).

References:
    Greenberg et al. 2009, Lancet Neurology, doi:10.1016/S1474-4422(09)70013-4: microbleeds are
    round or ovoid, 2-10 mm, surrounded by brain, and distinct from vessels seen end-on.
"""

from __future__ import annotations

from collections.abc import Iterable

from cmbnet.lesions.lesion import Lesion
from cmbnet.lesions.rules.border import BORDER
from cmbnet.lesions.rules.continuation import CONTINUATION
from cmbnet.lesions.rules.crossing import CROSSING
from cmbnet.lesions.rules.elongation import ELONGATION
from cmbnet.lesions.rules.rule import Rule
from cmbnet.lesions.rules.score import SCORE, lesion_score
from cmbnet.lesions.rules.size import SIZE
from cmbnet.lesions.rules.span import SPAN
from cmbnet.lesions.rules.thresholds import LesionRules, is_small, is_too_short, size_class

__all__ = [
    "RULES",
    "SCORE",
    "SIZE",
    "LesionRules",
    "Rule",
    "first_no",
    "is_small",
    "is_too_short",
    "lesion_score",
    "size_class",
]

RULES: tuple[Rule, ...] = (
    SIZE,
    CROSSING,
    ELONGATION,
    SPAN,
    CONTINUATION,
    BORDER,
    SCORE,
)
"""All rules, in the order in which they apply. The first that excludes gives the reason."""


def first_no(
    lesion: Lesion, thresholds: LesionRules, asked: Iterable[Rule]
) -> tuple[Rule, str] | None:
    """Return the first of some rules that excludes a candidate, with its reason, or None."""
    for rule in asked:
        reason = rule.reason(lesion, thresholds)
        if reason is not None:
            return rule, reason
    return None
