"""Keep what benchmarks counted in small files, for `cmbnet card --shares`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from cmbnet import __version__
from cmbnet.bundle import Bundle
from cmbnet.bundle.card import SHARES_SCHEMA
from cmbnet.io import write_text_atomically


def keep_shares(
    file: Path,
    run: str,
    counts: Mapping[str, tuple[int, int]],
    *,
    where: str,
    about: str,
    bundle: Bundle | None,
) -> None:
    """Write how many of how many were so, and add those of earlier runs in the file.

    Args:
        file: File of JSON. What other runs counted stays in it.
        run: Options that chose the scans.
        counts: Hits and total of each figure. Figures without any total are left out.
        where: Words after "What was measured", such as "in follow-up".
        about: Sentences on the scans.
        bundle: Model that was measured. None if the figures depend on none.

    Raises:
        ValueError: If the file has runs of another model, or this run.
    """
    model = bundle and {"bundle": bundle.manifest.name, "bundle_sha256": bundle.sha256}
    runs: list[str] = []
    before: dict[str, list[int]] = {}
    if file.exists():
        told = json.loads(file.read_text())
        if told["model"] != model or run in told["runs"]:
            raise ValueError(
                f"runs of {model} other than {run!r} are required in {file}: delete it"
            )
        runs, before = told["runs"], told["shares"]
    both = {
        name: [now + old for now, old in zip(pair, before.get(name, (0, 0)), strict=True)]
        for name, pair in counts.items()
        if pair[1] or name in before
    }
    content = {
        "schema": SHARES_SCHEMA, "cmbnet": __version__, "data": {"kind": "phantoms"},
        "model": model, "where": where, "about": about, "runs": [*runs, run], "shares": both,
    }  # fmt: skip
    write_text_atomically(file, json.dumps(content, indent=1) + "\n")
