"""The bench as a table for people and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from cmbnet import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from cmbnet.deploy.bench import Bench

STAGES = ("read", "prepare", "quality", "network", "native_grid", "lesions", "write")


def table(bench: Bench) -> Table:
    """One row per backend and precision, the fastest case first."""
    z, y, x = bench.scan
    shown = Table(
        title=f"{z}x{y}x{x} voxels (z, y, x), {bench.threads} threads, machine peak "
        f"{bench.peak_gflops:.0f} GFLOP/s float32. {RESEARCH_USE_ONLY}"
    )
    figures = ("ms/slice", "of peak", "case ms", "first ms", *STAGES, "MB", "file KiB", "lesions")
    for column in ("backend", *figures):
        shown.add_column(column, justify="left" if column == "backend" else "right")
    for timing in bench.timings:
        share = timing.share_of_peak
        shown.add_row(
            timing.backend,
            f"{timing.ms_per_slice:.1f}",
            "-" if share is None else f"{100 * share:.0f} %",
            f"{timing.case_ms:.0f}",
            f"{timing.first_case_ms:.0f}",
            *(f"{timing.stages_ms.get(stage, 0):.0f}" for stage in STAGES),
            f"{timing.peak_mb:.0f}",
            f"{timing.artefact_kb:.0f}",
            str(timing.lesions),
        )
    return shown


def plot(bench: Bench, path: Path) -> None:
    """Stacked bars of the stages of a case, a bar per backend, written as PNG or SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = [timing.backend for timing in bench.timings]
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.45 * len(names)), layout="constrained")
    left = [0.0] * len(names)
    for stage in STAGES:
        widths = [timing.stages_ms.get(stage, 0.0) for timing in bench.timings]
        axes.barh(names, widths, left=left, label=stage.replace("_", " "))
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.bar_label(axes.containers[-1], labels=[f" {total:.0f}" for total in left])
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.set_xlabel("ms for a whole case, best of the warm runs")
    axes.set_title(RESEARCH_USE_ONLY, fontsize=8)
    axes.legend(ncols=len(STAGES), loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)
