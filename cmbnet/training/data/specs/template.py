"""File-name templates: ``sub-{subject}/anat/sub-{subject}{entities?}_T2starw.nii{gz?}``.

``{name}`` matches one or more characters other than ``/``, and ``{name?}`` zero or more. Each
matches as few as possible. A name that occurs twice matches the same text twice. ``*`` is only for
finding: it stands for anything but ``/``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from cmbnet.errors import InputRefused

_FIELD = re.compile(r"\{([a-z_]+)(\??)\}")


def check_template(template: str) -> str:
    """Check a template and return it.

    Raises:
        ValueError: If it leaves the root of the data set, or has a brace that is no field.
    """
    path = PurePosixPath(template)
    if path.is_absolute() or ".." in path.parts or "\\" in template:
        raise ValueError(f"a path below the root with / is required, got {template!r}")
    if re.search(r"[{}]", _FIELD.sub("", template)):
        raise ValueError(f"fields are written {{name}} or {{name?}}, got {template!r}")
    return template


def fields_of(template: str) -> frozenset[str]:
    """Return the names of the fields.

    Examples:
        >>> sorted(fields_of("sub-{subject}/sub-{subject}{entities?}_swi.nii"))
        ['entities', 'subject']
    """
    return frozenset(match[1] for match in _FIELD.finditer(template))


def find(root: Path, template: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """Find the files that match a template, by name, each with the values of its fields."""
    pattern = re.compile(_expression(template))
    # Neighbouring stars would mean "all folders below".
    for path in sorted(root.glob(re.sub(r"\*+", "*", _FIELD.sub("*", template)))):
        match = pattern.fullmatch(path.relative_to(root).as_posix())
        if match and path.is_file():
            yield path, match.groupdict()


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Put the values of the fields in.

    Examples:
        >>> fill("labels/{case}.nii{gz?}", {"case": "a", "gz": ".gz"})
        'labels/a.nii.gz'
    """
    return _FIELD.sub(lambda match: fields[match[1]], template)


def find_one(root: Path, template: str, fields: Mapping[str, str]) -> Path | None:
    """Find the one file that a filled template names, or None.

    Raises:
        InputRefused: If a ``*`` in it leaves a choice.
    """
    found = _found(root, template, fields)
    if len(found) > 1:
        raise _several(root, template, fields, found)
    return found[0] if found else None


def find_of_each(root: Path, template: str, fields: Mapping[str, str]) -> tuple[Path, ...]:
    """Find the files that a filled template names, at most one in a folder.

    A mask may be one of 3D Slicer, ``.seg.nrrd``, where the template says ``.nii``. Folders of
    which a ``dataset_description.json`` says that cmbnet made them are left out: what a model found
    is no truth.

    Raises:
        InputRefused: If a ``*`` leaves a choice within a folder.
    """
    slicer = re.sub(r"\.nii(\.gz|\{gz\?\})?$", ".seg.nrrd", template)
    found = [
        path
        for one in dict.fromkeys((template, slicer))
        for path in _found(root, one, fields)
        if not _by_cmbnet(path, root)
    ]
    if len({path.parent for path in found}) < len(found):
        raise _several(root, template, fields, found)
    return tuple(found)


def _found(root: Path, template: str, fields: Mapping[str, str]) -> list[Path]:
    escaped = {name: _literal(value) for name, value in fields.items()}
    return sorted(path for path in root.glob(fill(template, escaped)) if path.is_file())


def _several(
    root: Path, template: str, fields: Mapping[str, str], found: list[Path]
) -> InputRefused:
    return InputRefused(
        f"{fill(template, fields)!r} must name one file in {root}, got "
        f"{', '.join(path.relative_to(root).as_posix() for path in found)}"
    )


def _by_cmbnet(path: Path, root: Path) -> bool:
    """Return whether a file lies in a folder of derivatives that cmbnet wrote."""
    for folder in path.parents:
        if folder == root:
            break
        try:
            text = (folder / "dataset_description.json").read_text(encoding="utf-8")
            if any(maker.get("Name") == "cmbnet" for maker in json.loads(text)["GeneratedBy"]):
                return True
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return False


def _literal(value: str) -> str:
    """Escape text for a glob."""
    return re.sub(r"([*?[])", r"[\1]", value)


def _expression(template: str) -> str:
    """Make the regular expression of a template."""
    parts, seen, end = [], set(), 0
    for match in _FIELD.finditer(template):
        parts.append(_plain(template[end : match.start()]))
        name, optional = match.groups()
        many = "*?" if optional else "+?"
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]{many})")
        seen.add(name)
        end = match.end()
    return "".join([*parts, _plain(template[end:])])


def _plain(text: str) -> str:
    """Make the expression of text between fields, with ``*`` for anything but ``/``."""
    return "[^/]*".join(re.escape(part) for part in text.split("*"))
