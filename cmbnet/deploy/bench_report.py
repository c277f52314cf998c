"""Show the bench as lines of text and as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cmbnet import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from cmbnet.deploy.bench import Bench, Timing

STAGES = ("read", "prepare", "quality", "network", "native_grid", "lesions", "write")


_FIGURES = ("ms/slice", "of peak", "case ms", "first ms", *STAGES, "MB", "file KiB", "lesions")
_WIDTH = max(map(len, _FIGURES)) + 1


def heading(scan: tuple[int, int, int], threads: int, peak_gflops: float) -> str:
    """Describe the measurement, and name the columns that `row` fills.

    `peak_gflops` is the speed of the machine in float32.
    """
    z, y, x = scan
    return (
        f"{z}x{y}x{x} voxels (z, y, x), {threads} threads, machine peak {peak_gflops:.0f} GFLOP/s "
        f"float32. {RESEARCH_USE_ONLY}\n" + _line("backend", _FIGURES)
    )


def row(timing: Timing) -> str:
    """Write the row of a backend and precision."""
    share = timing.share_of_peak
    figures = (
        f"{timing.ms_per_slice:.1f}",
        "-" if share is None else f"{100 * share:.0f} %",
        f"{timing.case_ms:.0f}",
        f"{timing.first_case_ms:.0f}",
        *(f"{timing.stages_ms.get(stage, 0):.0f}" for stage in STAGES),
        f"{timing.peak_mb:.0f}",
        f"{timing.artefact_kb:.0f}",
        str(timing.lesions),
    )
    return _line(timing.backend, figures)


def _line(name: str, figures: Iterable[str]) -> str:
    return f"{name:18}" + "".join(figure.rjust(_WIDTH) for figure in figures)


def plot(bench: Bench, path: Path) -> None:
    """Draw the stages of a case as stacked bars, one per backend, as PNG or SVG."""
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
