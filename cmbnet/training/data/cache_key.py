"""Hashes of the sources of a part of the cache. The same key means the same content."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cmbnet import __version__
from cmbnet.errors import UnreadableFile
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.data.cache_part import FORMAT
from cmbnet.training.data.specs.centres import Centres
from cmbnet.training.data.specs.discover import ScanCase
from cmbnet.training.data.specs.labels import LabelImage


def hash_sources(case: ScanCase) -> dict[str, str]:
    """Hash all files of a case, by role."""
    files = {"image": case.image, "ignore": case.ignore, "mimics": case.mimics}
    hashes = {}
    if isinstance(case.label, LabelImage):
        files["label"] = case.label.path
    elif isinstance(case.label, Centres):
        rule = [case.label.points, case.label.unit, case.label.target.model_dump()]
        hashes["centres"] = hashlib.sha256(json.dumps(rule).encode()).hexdigest()
    for role, path in files.items():
        if path is not None:
            try:
                with path.open("rb") as stream:
                    hashes[role] = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise UnreadableFile(f"cannot read {path}: {error.strerror}") from error
    return hashes


def part_key(case: ScanCase, sources: dict[str, str], recipe: PreprocessRecipe) -> str:
    """Hash everything that determines the content of a part."""
    kind = case.label.kind if isinstance(case.label, LabelImage) else ""
    stated = [case.name, case.patient, case.split, case.stated_lesions, case.expects_lesions]
    parts: list[Any] = [FORMAT, __version__, recipe.to_dict(), sources, kind, stated]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
