"""The score of a candidate, and the rule of those whose score is too low.

The score is learned from what a candidate and its surroundings look like. Calcium in the pineal
gland or the choroid plexus, and a vein that passes through fluid, look like a microbleed. They do
not lie in brain tissue, and microbleeds do. The template head knows how likely a place is tissue.
"""

from __future__ import annotations

from cmbnet.lesions.lesion import Lesion
from cmbnet.lesions.rules.rule import Rule
from cmbnet.lesions.rules.thresholds import LesionRules


def lesion_score(lesion: Lesion, rules: LesionRules) -> float:
    """Return the score of a candidate, 0 to 1, which the score threshold is compared with.

    It needs the candidate's probabilities and, if known, its surroundings and place, and reads no
    `score`.
    """
    if rules.evidence is not None:
        score = rules.evidence.score(lesion)
    else:
        score = lesion.mean_probability if rules.score == "mean" else lesion.max_probability
    border_mm = lesion.border_distance_mm
    near = border_mm is not None and border_mm < rules.border_mm
    return score * (rules.border_factor if near else 1.0) * _tissue(lesion, rules)


def _tissue(lesion: Lesion, rules: LesionRules) -> float:
    share = lesion.place.tissue if rules.in_tissue and lesion.place is not None else None
    return 1.0 if share is None else share


def _reason(lesion: Lesion, rules: LesionRules) -> str | None:
    if lesion.score >= rules.min_score:
        return None
    tissue = _tissue(lesion, rules)
    why = f", with {tissue:.0%} brain tissue at its place" if tissue < 1 else ""
    return f"score {lesion.score:.3f} is below {rules.min_score:.3f}{why}"


SCORE = Rule("score", "score", _reason, surroundings=True)
