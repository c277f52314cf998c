"""Copies of bundles: whole, or with some of their artefacts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmbnet.bundle import Artefact, Bundle, NewArtefact
from cmbnet.bundle.bundle import load_bundle
from cmbnet.bundle.manifest import MANIFEST_NAME, Manifest
from cmbnet.io import write_bytes_atomically, write_text_atomically


def subset(bundle: Bundle, artefacts: Sequence[Artefact], folder: Path) -> Bundle:
    """Write a bundle that holds some of another's artefacts.

    Args:
        bundle: The whole; hashes are checked while copying.
        artefacts: Of the bundle.
        folder: Of the copy; its manifest comes last.
    """
    for artefact in artefacts:
        for entry in (artefact, *artefact.companions):
            write_bytes_atomically(folder / entry.file, bundle.read(entry))
    values = {name: getattr(bundle.manifest, name) for name in Manifest.model_fields}
    origin = {"copied_from_sha256": bundle.sha256}
    manifest = Manifest.model_validate(
        values | {"artefacts": tuple(artefacts), "versions": bundle.manifest.versions | origin}
    )
    write_text_atomically(folder / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")
    return load_bundle(folder)


def copy_bundle(bundle: Bundle, folder: Path) -> Bundle:
    """Write a byte-identical copy of a bundle, checking every hash."""
    for artefact in bundle.manifest.artefacts:
        for entry in (artefact, *artefact.companions):
            write_bytes_atomically(folder / entry.file, bundle.read(entry))
    write_bytes_atomically(folder / MANIFEST_NAME, (bundle.path / MANIFEST_NAME).read_bytes())
    return load_bundle(folder)


def as_new(
    bundle: Bundle,
    artefact: Artefact,
    parity: dict[str, float | bool | str],
    *,
    content: bytes | None = None,
) -> NewArtefact:
    """An artefact of a bundle with another parity result, or another content, to be written."""
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
