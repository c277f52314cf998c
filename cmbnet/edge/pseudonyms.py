"""Pseudonyms of studies and patients, and the details of events that name nobody.

A pseudonym is a keyed hash. Only the node's key can trace it back.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from cmbnet.edge.folders import move, sync
from cmbnet.errors import CmbnetError

SafeDetail: TypeAlias = str | int | float | bool

KEY_FILE = "pseudonyms.key"
_KEY_BYTES = 32
_DIGITS = 12
_WORDS = frozenset({"address", "caller", "destination", "outcome", "reason", "state", "status"})
"""Names of the details that are words. Other words are left out until they are listed here."""
_LONGEST_WORDS = 500

_UID = re.compile(r"(?<![\d.])(?:2\.25\.\d+|[0-2](?:\.\d+){3,})")
_PUBLIC_ROOT = "1.2.840.10008."
"""Root of the standard's own UIDs. They name kinds of objects, not objects."""


class Pseudonyms:
    """A function that gives every UID a pseudonym, always the same under one key.

    The key is the secret of the node.

    Examples:
        >>> names = Pseudonyms(b"0" * 32)
        >>> names("1.2.3.4")
        's-16bf79a30140'
        >>> names.scrub("between instance 3 (1.2.3.4.dcm) and the rest")
        'between instance 3 (s-16bf79a30140.dcm) and the rest'
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, uid: str) -> str:
        """Return the pseudonym of a UID. An empty UID has an empty one."""
        if not uid:
            return ""
        return f"s-{self._digest(uid)[:_DIGITS]}"

    def patient(self, patient_id: str, issuer: str = "") -> str:
        """Return the pseudonym of a patient. It is empty for an empty ID, which is nobody's."""
        return f"p-{self._digest(f'{issuer}/{patient_id}')}" if patient_id else ""

    def scrub(self, text: str) -> str:
        """Replace every UID in a sentence by its pseudonym, except UIDs of the standard."""
        return _UID.sub(self._replace, text)

    def safe_details(self, details: Mapping[str, object]) -> dict[str, SafeDetail]:
        """Return the details of an event that cannot name a patient or an object.

        These are numbers and known words. Control characters, which an AE title or a reason may
        hold, are replaced.
        """
        safe: dict[str, SafeDetail] = {}
        for key, value in details.items():
            if isinstance(value, bool | int):
                safe[key] = value
            elif isinstance(value, float):
                safe[key] = round(value, 4)
            elif isinstance(value, str) and key in _WORDS:
                text = self.scrub(value)[:_LONGEST_WORDS]
                safe[key] = "".join(one if one.isprintable() else "?" for one in text)
        return safe

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def _replace(self, found: re.Match[str]) -> str:
        uid = found.group()
        return uid if uid.startswith(_PUBLIC_ROOT) else self(uid)


def open_pseudonyms(root: Path) -> Pseudonyms:
    """Read the key of a node. The first call draws a key.

    Raises:
        CmbnetError: If the file holds no key.
        OSError: If the file cannot be read or written.
    """
    path = root / KEY_FILE
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _write_key(path)
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise CmbnetError(
            f"{_KEY_BYTES} bytes are required in {path}, got {len(key)}: restore it from a backup, "
            "or remove it (studies then get new names in logs)"
        )
    return Pseudonyms(key)


def _write_key(path: Path) -> None:
    """Write the whole key or nothing, readable only by the node's user."""
    draft = path.with_suffix(".part")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600, exist_ok=False)
    draft.write_bytes(secrets.token_bytes(_KEY_BYTES))
    sync(draft)
    move(draft, path)
