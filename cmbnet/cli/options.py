"""Options and kinds of paths that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cmbnet.data_kind import KINDS
from cmbnet.errors import UsageError

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
OLD_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
OLD_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OLD_PATH = click.Path(exists=True, path_type=Path)
"""Paths that may be new, and paths that must exist."""

Decorator = Callable[[Any], Any]

model = click.option(
    "--model", default="default", help="Model to use: the folder of a bundle, or default."
)
backend = click.option(
    "--backend",
    default="auto",
    help="Runtime of the network: auto, or a name that `cmbnet backends` lists. A precision may "
    "follow, as in litert:float32.",
)
operating_point = click.option(
    "--operating-point", default="default",
    help="Name of a set of thresholds of the bundle, or default.",
)  # fmt: skip
threads = click.option(
    "--threads", type=click.IntRange(1), help="Threads of the network.  [default: all processors]"
)
count_calcifications = click.option(
    "--count-calcifications", is_flag=True,
    help="Also count as microbleeds what the phase calls a calcification.",
)  # fmt: skip
force = click.option(
    "--force", is_flag=True,
    help="Also analyse scans that the quality gate refuses. The result says so.",
)  # fmt: skip
resamples = click.option(
    "--resamples", type=click.IntRange(min=100), default=10_000, show_default=True,
    help="Number of resamples of the bootstrap.",
)  # fmt: skip
for_print = click.option(
    "--for-print", is_flag=True,
    help="Also write each figure as PDF, without the line on research use.",
)  # fmt: skip
bootstrap_seed = click.option(
    "--seed", default=20220324, show_default=True, help="Seed of the bootstrap."
)


def data_kind(words: str, *, required: bool = False) -> Decorator:
    """Make the option ``--data-kind`` with this help."""
    return click.option(
        "--data-kind", type=click.Choice(list(KINDS)), required=required, help=words
    )


def require_kind(kind: str | None) -> None:
    """Refuse to write results of scans whose kind was not stated.

    Raises:
        UsageError: If `kind` is None.
    """
    if kind is None:
        raise UsageError(
            "--data-kind is required with -o: say what the scans are, for no file tells "
            f"({', '.join(KINDS)})"
        )


def scan_jobs(words: str) -> Decorator:
    """Make the option ``--jobs`` of commands that prepare scans, with this help."""
    return click.option("--jobs", default=1, show_default=True, help=words)


def keep_blas_quiet() -> None:
    """Ask numpy's OpenBLAS for one thread. With our small matrices, further threads only spin.

    It reads the environment when numpy is imported, so this must come before.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
