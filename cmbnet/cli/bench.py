"""``cmbnet bench``: time every backend and precision on the same scan."""

from __future__ import annotations

from pathlib import Path

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options


@click.command("bench", epilog=RESEARCH_USE_ONLY)
@click.argument("scan", type=options.OLD_FILE)
@options.model
@click.option("--threads", type=click.IntRange(min=1),
              help="Threads of each backend.  [default: all processors]")  # fmt: skip
@click.option("--json", "json_file", type=options.FILE, help="Write all figures to this JSON file.")
@click.option("--plot", "plot_file", type=options.FILE,
              help="Draw the times as a picture, a PNG file.")  # fmt: skip
def command(
    scan: Path, model: str, threads: int | None, json_file: Path | None, plot_file: Path | None
) -> None:
    """Time every backend and precision of a model on SCAN, a NIfTI file.

    Each backend runs in its own process and prints its row when it is done. It analyses the scan
    four times. The first time does not count, and the best of the other three does. "of peak"
    compares the speed of the network's arithmetic with a large float32 matrix product on this
    machine; int8 may be faster than that. Run nothing else meanwhile.
    """
    from cmbnet.bundle import load_bundle
    from cmbnet.deploy.bench import run_bench
    from cmbnet.deploy.bench_report import plot
    from cmbnet.io import write_text_atomically
    from cmbnet.threads import processors

    bench = run_bench(
        load_bundle(model),
        scan,
        threads=threads or processors(),
        report=lambda line: click.echo(line, err=True),
        show=click.echo,
    )
    if bench.keras_predict_ms:
        best = min(bench.timings, key=lambda timing: timing.ms_per_slice)
        click.echo(
            f"plain Keras predict: {bench.keras_predict_ms:.1f} ms/slice; {best.backend} is "
            f"{bench.keras_predict_ms / best.ms_per_slice:.1f} times as fast"
        )
    if json_file:
        write_text_atomically(json_file, bench.to_json())
    if plot_file:
        plot(bench, plot_file)
    click.echo(RESEARCH_USE_ONLY)
