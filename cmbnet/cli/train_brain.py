"""``cmbnet train-brain``: train the network of the brain mask."""

from __future__ import annotations

from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options


@click.command("train-brain", epilog=RESEARCH_USE_ONLY)
@click.option("-o", "--output", "run", required=True, type=options.FOLDER,
              help="Folder of the run. The same command continues an "
                   "interrupted run.")  # fmt: skip
@click.option("--steps", default=3000, show_default=True, type=click.IntRange(1),
              help="Number of scans to learn from, one for each step.")  # fmt: skip
@click.option("--heads", default=48, show_default=True, type=click.IntRange(1),
              help="Number of heads that the scans are drawn from.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0),
              help="Seed of the heads and scans.")  # fmt: skip
def command(run: Path, steps: int, heads: int, seed: int) -> None:
    """Train the network of the brain mask on synthetic scans.

    The scans are drawn from the phantom's anatomy, with every contrast, while the network learns.
    The MNI maps of the extra `phantom` are needed. The result is RUN/brain.tflite.
    """
    options.keep_blas_quiet()  # the process that draws needs no threads beside it
    from cmbnet.training.brain.fit import BrainTraining, train_brain

    _, file = train_brain(run, BrainTraining(steps, heads, seed), report=click.echo)
    click.echo(file)
    click.echo(RESEARCH_USE_ONLY)
