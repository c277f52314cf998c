"""Copies of bundles, whole or with another manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmbnet.bundle import Artefact, Bundle, NewArtefact
from cmbnet.bundle.bundle import load_bundle
from cmbnet.bundle.manifest import MANIFEST_NAME, Manifest
from cmbnet.errors import CmbnetError
from cmbnet.io import write_bytes_atomically


class CannotWrite(CmbnetError):
    """The file system refuses to take an export."""


def copy_bundle(bundle: Bundle, folder: Path, manifest: Manifest | None = None) -> Bundle:
    """Copy a bundle and check every hash. The manifest is written last.

    The copy has the artefacts of `manifest`. Without one it is byte-identical.
    """
    for artefact in (manifest or bundle.manifest).artefacts:
        for entry in (artefact, *artefact.companions):
            write_bytes_atomically(folder / entry.file, bundle.read(entry))
    if manifest is None:
        text = (bundle.path / MANIFEST_NAME).read_bytes()
    else:
        text = (manifest.model_dump_json(indent=2) + "\n").encode()
    write_bytes_atomically(folder / MANIFEST_NAME, text)
    return load_bundle(folder)


def changed_manifest(bundle: Bundle, changes: dict[str, Any]) -> Manifest:
    """Return a bundle's manifest with some fields changed, after all checks of a manifest."""
    values = {name: getattr(bundle.manifest, name) for name in Manifest.model_fields}
    return Manifest.model_validate(values | changes)


def as_new(
    bundle: Bundle,
    artefact: Artefact,
    parity: dict[str, float | bool | str],
    *,
    content: bytes | None = None,
) -> NewArtefact:
    """Return an artefact of a bundle with another parity result or content, for writing."""
    return NewArtefact(
        file=artefact.file,
        content=bundle.read(artefact) if content is None else content,
        kind=artefact.kind,
        precision=artefact.precision,
        shape=artefact.shape,
        companions={entry.file: bundle.read(entry) for entry in artefact.companions},
        tools=artefact.tools,
        parity=parity,
    )
