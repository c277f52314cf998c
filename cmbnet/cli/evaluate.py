"""``cmbnet evaluate``: score predictions against a reference."""

from __future__ import annotations

from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("evaluate", epilog=RESEARCH_USE_ONLY)
@click.option("--pred", type=FOLDER, help="Predicted masks or instance labels.")
@click.option("--truth", type=FOLDER, required=True, help="Reference masks or instance labels.")
@click.option("--probabilities", type=FOLDER, help="Probability maps; thresholded without --pred.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--rule", default="paper", show_default=True)
def command(
    pred: Path | None, truth: Path, probabilities: Path | None, jobs: int, rule: str
) -> None:
    """Score the predictions of a folder against the reference of another."""
    from cmbnet.evaluation import METRICS, MatchingRule, Settings, summarise
    from cmbnet.evaluation.files import Folders, pair_files
    from cmbnet.evaluation.load import score_many

    settings = Settings(rule=MatchingRule.parse(rule))
    files = pair_files(Folders(truth, pred, probabilities), allow_missing=False)
    scores = summarise(score_many(files, settings, jobs=jobs), settings)
    for one in METRICS:
        click.echo(f"{one.level:22} {one.title:42} {scores.metrics[one.name]:.3f}")
