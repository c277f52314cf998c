"""The details of an event that may be written down: numbers, and words that name nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from cmbnet.edge.pseudonyms import Pseudonyms

Fact: TypeAlias = str | int | float | bool

_WORDS = frozenset({"address", "caller", "destination", "outcome", "reason", "state", "status"})
"""Names of the details that are words. Other words are left out until they are listed here."""

_LONGEST = 500


def facts_of(details: Mapping[str, object], names: Pseudonyms) -> dict[str, Fact]:
    """Return the details of an event that cannot name a patient or an object.

    Args:
        details: Details of an event.
        names: Pseudonyms for UIDs in sentences.
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
    """Remove control characters, which an AE title or a reason may hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
