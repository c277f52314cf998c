"""The files of a run for people: recipe, origin, log and learning curves."""

from __future__ import annotations

import io
import json
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.io import table_csv, write_bytes_atomically, write_text_atomically
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.recipe import Recipe

BEST_MODEL, LAST_MODEL = "best.keras", "last.keras"
LOG, CURVES, RECIPE, DESCRIPTION = "log.csv", "curves.png", "recipe.yaml", "run.json"


def write_run_description(
    run: Path, recipe: Recipe, training: Cache, validation: Cache, device: str
) -> None:
    """Write the resolved recipe and the origin of the run."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
    write_text_atomically(run / RECIPE, f"# {RESEARCH_USE_ONLY}\n{text}")
    description = {
        "statement": RESEARCH_USE_ONLY,
        "cmbnet_version": __version__,
        "git_revision": git_revision(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("keras", "numpy")},
        "device": device,
        "preprocess": training.preprocess,
        "training": _cohort(training),
        "validation": _cohort(validation),
    }
    write_text_atomically(run / DESCRIPTION, json.dumps(description, indent=2) + "\n")


def _cohort(cache: Cache) -> dict[str, Any]:
    """Describe a cohort by its size and its own description."""
    return {
        "cases": len(cache.cases),
        "controls": len(cache.controls),
        "lesions": sum(case.lesions for case in cache.cases),
        "slices": sum(len(case.image) for case in cache.cases),
        "description": cache.cohort_description,
    }


def git_revision() -> str:
    """Return the commit of the source, or "unknown" outside a checkout."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()


def write_log(run: Path, history: Sequence[dict[str, float]]) -> None:
    """Write the log as CSV and the learning curves as PNG."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    rows = (
        [_figure(name, row[name]) if name in row else None for name in columns] for row in history
    )
    write_text_atomically(run / LOG, table_csv(columns, rows))
    write_bytes_atomically(run / CURVES, curves_png(history))


def _figure(name: str, value: float) -> float | str:
    return value if name == "epoch" else f"{value:.6g}"


def curves_png(history: Sequence[dict[str, float]]) -> bytes:
    """Draw loss, validation Dice and learning rate over the epochs, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15.0, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 5)
    # The loss of the recipe is no cross-entropy of a pixel: the two may be a thousand apart.
    panels = (
        ("loss of training", ("loss",), "log"),
        ("validation cross-entropy", ("val_loss",), "log"),
        ("validation Dice", ("val_dice", "val_best_dice"), "linear"),
        ("lesion blobs", ("val_sensitivity", "val_false_blobs"), "linear"),
        ("learning rate", ("learning_rate",), "log"),
    )
    for axis, (title, names, scale) in zip(axes, panels, strict=True):
        for name in names:
            rows = [row for row in history if name in row]
            axis.plot([r["epoch"] for r in rows], [r[name] for r in rows], ".-", label=name)
        axis.set(title=title, xlabel="epoch", yscale=scale)
        axis.legend(fontsize="small")
    figure.suptitle(RESEARCH_USE_ONLY, fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()
