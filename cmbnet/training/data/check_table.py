"""Print and write the results of `cmbnet check-data`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.errors import printable
from cmbnet.io import write_text_atomically
from cmbnet.training.data.cache import BuildResult
from cmbnet.training.data.specs.check import CaseReport
from cmbnet.training.data.specs.load import spec_sha256
from cmbnet.training.data.specs.model import ReferenceSpec, ScanSpec


def print_summary(result: BuildResult) -> None:
    """Print a row for each side of the split, and one for all, with lesions by size."""
    sides: dict[str, list[CaseReport]] = defaultdict(list)
    for report in result.reports:
        sides[report.split].append(report)
    table = _table(
        "side", "cases", "patients", "controls", "2-5 mm", "5-10 mm", "other", "pixel mm",
        "slice mm",
    )  # fmt: skip
    for name, reports in sorted(sides.items()):
        table.add_row(name, *_sums(reports))
    if len(sides) != 1:
        table.add_row("all", *_sums(result.reports))
    _console().print(table)


def _sums(reports: Sequence[CaseReport]) -> list[str]:
    """Return the cells of a row of the summary."""
    return [
        str(len(reports)),
        str(len({report.patient for report in reports})),
        str(sum(report.lesions == 0 for report in reports)),
        str(sum(report.small for report in reports)),
        str(sum(report.large for report in reports)),
        str(sum(report.outside for report in reports)),
        _range([min(report.spacing_mm) for report in reports]),
        _range([max(report.spacing_mm) for report in reports]),
    ]


def _range(values: Sequence[float]) -> str:
    """Write the smallest and the largest value."""
    if not values:
        return "-"
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low}-{high}"


def print_cases(result: BuildResult) -> None:
    """Print a row for each case."""
    table = _table("case", "patient", "side", "2-5 mm", "5-10 mm", "other", "spacing mm", "faults")
    for one in result.reports:
        spacing = " x ".join(f"{value:.2f}" for value in one.spacing_mm)
        codes = ", ".join(sorted({fault.code for fault in one.faults}))
        counts = (str(one.small), str(one.large), str(one.outside))
        names = (escape(printable(name)) for name in (one.name, one.patient))
        table.add_row(*names, one.split, *counts, spacing, codes)
    _console().print(table)


def print_faults(result: BuildResult) -> None:
    """Print a line for each fault. Faults that make training wrong come first."""
    console = Console()
    for fault in result.faults:
        console.print(escape(str(fault)), soft_wrap=True)
    if not result.faults:
        console.print("no fault was found")


def print_reference(spec: ReferenceSpec) -> None:
    """Print the published numbers of a cohort whose scans are not at hand."""
    table = _table("side", "patients", "lesions 2-5 mm", "5-10 mm")
    for part in spec.parts:
        counts = ("not stated" if n is None else f"{n:,}" for n in (part.small, part.large))
        table.add_row(part.name, f"{part.patients:,}", *counts)
    table.add_row(
        "with counted lesions", f"{spec.patients:,}", f"{spec.small:,}", f"{spec.large:,}"
    )
    console = Console()
    console.print(table)
    console.print(f"{spec.lesions:,} lesions. {spec.notes}", soft_wrap=True)


def write_json(path: Path, spec: ScanSpec, result: BuildResult) -> None:
    """Write all cases and faults, for programs."""
    content = {
        "statement": RESEARCH_USE_ONLY,
        "cmbnet_version": __version__,
        "spec": spec.name,
        "spec_sha256": spec_sha256(spec),
        "wrong": result.wrong,
        "cases": [asdict(report) for report in result.reports],
        "faults": [asdict(fault) for fault in result.faults],
    }
    write_text_atomically(path, json.dumps(content, indent=1) + "\n")


def _console() -> Console:
    """Return a console. A pipe has no width: rich would take 80 columns and break every name."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 200)
    return console


def _table(*headings: str) -> Table:
    """Return a table with numbers on the right and words on the left, which are never cut."""
    table = Table(box=SIMPLE)
    for heading in headings:
        left = heading in ("side", "case", "patient", "spacing mm", "faults")
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    return table
