"""Drawing of the sides of a split, by patient."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping

from cmbnet.training.data.specs.model import FoldSplit, PatientSplit

TRAINING, VALIDATION = "training", "validation"
"""The sides of a split that training needs. It ignores any other side, such as ``test``."""


def draw_split(splits: PatientSplit, patient: str) -> str:
    """Draw the side of a patient: a hash of the name, in [0, 1), falls into one of the shares."""
    drawn = _drawn(splits.seed, patient)
    upper = 0.0
    for name, share in splits.shares.items():
        upper += share
        if drawn < upper:
            return name
    return name


def deal_splits(splits: PatientSplit | FoldSplit, patients: Mapping[str, bool]) -> dict[str, str]:
    """Deal patients with and without lesions apart, each in the order of a hash of the name.

    `patients` says of each name whether there are lesions, the result on which side it is.
    """
    if isinstance(splits, FoldSplit):
        shares = {str(n + 1): 1.0 for n in range(splits.folds)}
    else:
        shares = dict(splits.shares)
    sides: dict[str, str] = {}
    for stratum in (True, False):
        names = [name for name, lesions in patients.items() if lesions is stratum]
        names.sort(key=lambda name: (_drawn(splits.seed, name), name))
        sides |= zip(names, _deal(shares, len(names)), strict=True)
    if isinstance(splits, PatientSplit):
        return sides
    chosen = str(splits.fold)
    return {name: VALIDATION if fold == chosen else TRAINING for name, fold in sides.items()}


def _drawn(seed: int, patient: str) -> float:
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _deal(shares: Mapping[str, float], count: int) -> Iterator[str]:
    """Deal one to each side first, and then to the side that lacks most of its share.

    Examples:
        >>> list(_deal({"training": 0.8, "validation": 0.2}, 4))
        ['training', 'validation', 'training', 'training']
    """
    dealt: Counter[str] = Counter()
    total = sum(shares.values())
    for number in range(1, count + 1):
        empty = [side for side in shares if not dealt[side]]
        side = max(empty or shares, key=lambda s: number * shares[s] / total - dealt[s])
        dealt[side] += 1
        yield side
