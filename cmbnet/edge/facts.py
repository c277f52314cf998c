"""What of an event may be written down: numbers, and words that are known to name nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from cmbnet.edge.pseudonyms import Pseudonyms

Fact: TypeAlias = str | int | float | bool

_WORDS = frozenset({"address", "caller", "destination", "outcome", "reason", "state", "status"})
"""Details that are words. A new one stays out until someone has thought about it here."""

_LONGEST = 500


def facts_of(details: Mapping[str, object], names: Pseudonyms) -> dict[str, Fact]:
    """The details of an event without anything that could name a patient or an object.

    Args:
        details: Of an event.
        names: For UIDs that stand in sentences.
    """
    facts: dict[str, Fact] = {}
    for key, value in details.items():
        if isinstance(value, bool | int):
            facts[key] = value
        elif isinstance(value, float):
            facts[key] = round(value, 4)
        elif isinstance(value, str) and key in _WORDS:
            facts[key] = _printable(names.scrub(value))[:_LONGEST]
    return facts


def _printable(text: str) -> str:
    """An AE title or a reason may hold what a terminal obeys."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
