"""The score of a candidate, and the rule of those whose score is too low."""

from __future__ import annotations

from cmbnet.lesions.lesion import Lesion
from cmbnet.lesions.rules.rule import Rule
from cmbnet.lesions.rules.thresholds import LesionRules


def lesion_score(lesion: Lesion, rules: LesionRules) -> float:
    """Return the score of a candidate, 0 to 1, which the score threshold is compared with.

    Args:
        lesion: A candidate with its probabilities and, if known, its surroundings. Its own
            `score` is not read.
        rules: The thresholds.
    """
    if rules.evidence is not None:
        score = rules.evidence.score(lesion)
    else:
        score = lesion.mean_probability if rules.score == "mean" else lesion.max_probability
    border_mm = lesion.border_distance_mm
    near = border_mm is not None and border_mm < rules.border_mm
    return score * (rules.border_factor if near else 1.0)


def _reason(lesion: Lesion, rules: LesionRules) -> str | None:
    if lesion.score < rules.min_score:
        return f"score {lesion.score:.3f} is below {rules.min_score:.3f}"
    return None


SCORE = Rule("score", "score", _reason, surroundings=True)
