"""``cmbnet export``: turn a bundle or a training run into the files that other runtimes read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.data_kind import KINDS
from cmbnet.errors import UsageError

if TYPE_CHECKING:
    from cmbnet.bundle import Bundle
    from cmbnet.deploy.convert import ExportPlan
    from cmbnet.deploy.gate import ParityFailed
    from cmbnet.deploy.samples import Samples

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_FLAVORS = click.Choice(["auto", "rtx", "datacenter"])
_NETWORKS = click.Choice(["auto", "litert", "onnx", "tensorrt"])


@click.command("export", epilog=RESEARCH_USE_ONLY)
@click.argument("bundle")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="New or empty folder for a copy of the bundle. For a training run, the new bundle.",
)
@click.option("--savedmodel", is_flag=True, help="Make a TensorFlow SavedModel, in float32.")
@click.option("--tflite", is_flag=True, help="Make LiteRT (TensorFlow Lite) files.")
@click.option("--onnx", is_flag=True, help="Make ONNX files. Their batch size is free.")
@click.option("--trt", is_flag=True, help="Make TensorRT engines. --flavor chooses their kind.")
@click.option("--fp16", is_flag=True, help="Also make the files in half precision.")
@click.option("--int8", is_flag=True, help="Also make the files in 8 bits, calibrated on phantoms.")
@click.option(
    "--all", "everything", is_flag=True, help="Make SavedModel, LiteRT and ONNX, in all precisions."
)
@click.option(
    "--triton",
    type=click.Path(path_type=Path),
    help="Write a Triton model repository to this folder.",
)
@click.option(
    "--triton-network",
    type=_NETWORKS,
    default="auto",
    help="Runtime of the network in the Triton repository.",
)
@click.option(
    "--flavor", type=_FLAVORS, default="auto", show_default=True, help="Kind of TensorRT for --trt."
)
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    help="With --flavor rtx, a GPU to build for, such as SM86. You may repeat it.",
)
@click.option(
    "--hardware-compatible",
    is_flag=True,
    help="With --flavor datacenter, build for every GPU from Ampere on.",
)
@click.option(
    "--timing-cache",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --flavor datacenter, file that keeps kernel timings from build to build.",
)
@click.option(
    "--allow-parity-failure",
    is_flag=True,
    help="Accept files that fail the parity gate. The bundle records it.",
)
@click.option(
    "--parity-cases", type=click.IntRange(1), default=6, show_default=True,
    help="Number of phantoms with lesions on which the gate judges.",
)  # fmt: skip
@click.option(
    "--calibrations", type=click.IntRange(1), default=3, show_default=True,
    help="Number of attempts at an int8 file if it fails. Each uses other calibration scans.",
)  # fmt: skip
@click.option("--anatomy", type=click.Choice(["mni", "procedural"]), default="mni", hidden=True)
@click.option(
    "--validation",
    type=_DIRECTORY,
    help="For a training run, folder of the scans on which thresholds are chosen.",
)
@click.option(
    "--score-from", type=_DIRECTORY, multiple=True,
    help="For a training run, scans to learn the lesion score from, such as its training scans.",
)  # fmt: skip
@click.option(
    "--cache",
    type=click.Path(exists=True, path_type=Path),
    help="For a training run, its cache of training scans.  [default: RUN/training]",
)
@click.option("--name", default="cmbnet", help="For a training run, name of the new bundle.")
@click.option(
    "--data-kind",
    type=click.Choice(list(KINDS)),
    help="For a training run, what kind of scans it used.",
)
@click.option(
    "--licence", help="For a training run, licence of the bundle, as an SPDX name or in words."
)
def command(**options: Any) -> None:
    """Turn BUNDLE into files that other runtimes read, and check that they find the same lesions.

    BUNDLE is one of three: a folder that holds bundle.json, "default" for the model in the
    package, or the folder of a finished training run. A training run becomes a bundle first, and
    needs -o, --validation, --data-kind and --licence. The files go into the bundle, or into a
    copy of it at -o. Without -o, the default model is copied to ./NAME-export.
    """
    from cmbnet.deploy.gate import ParityFailed

    if options["triton"]:
        from cmbnet.deploy.triton.repository import require_place

        require_place(options["triton"])
    try:
        bundle = _export(options)
    except ParityFailed as failed:
        if options["triton"]:
            _serve_what_passed(failed, options)
        raise
    if options["triton"]:
        _write_triton(bundle, options)
    click.echo(f"{bundle.path}  sha256 {bundle.sha256}")
    click.echo(RESEARCH_USE_ONLY)


def _export(options: dict[str, Any]) -> Bundle:
    """Make the files that the options name, and return the bundle on disk."""
    from cmbnet.deploy.export import export_bundle, load_for_export

    output: Path | None = options["output"]
    if is_run(options["bundle"]):
        bundle, output = _bundle_of_run(options), None
    else:
        bundle = load_for_export(options["bundle"])
    plan = _plan(options)
    if plan.formats:
        if options["bundle"] == "default" and output is None:
            output = Path(f"{bundle.manifest.name}-export")
        return export_bundle(
            bundle,
            output,
            plan,
            allow_failure=options["allow_parity_failure"],
            report=click.echo,
        )
    if not options["triton"] and not is_run(options["bundle"]):
        raise UsageError("nothing to export: give --tflite, --onnx, --trt, --triton DIR or --all")
    return bundle


def is_run(name: str) -> bool:
    """Return whether a folder is a training run, and not a bundle."""
    from cmbnet.bundle.manifest import MANIFEST_NAME

    folder = Path(name)
    return (folder / "best.keras").is_file() and not (folder / MANIFEST_NAME).is_file()


def _bundle_of_run(options: dict[str, Any]) -> Bundle:
    """Write the bundle of a training run to the output folder."""
    needed = {"output": "-o FOLDER", "validation": "--validation COHORT",
              "data_kind": "--data-kind KIND", "licence": "--licence NAME"}  # fmt: skip
    missing = [words for name, words in needed.items() if not options[name]]
    if missing:
        raise UsageError(f"{options['bundle']} is a training run: it needs {', '.join(missing)}")
    from cmbnet.training.choose.bundle_writer import FILES, GATE_SCANS, Export, export_run
    from cmbnet.training.data.sources import cache_of_run

    run = Path(options["bundle"])
    export = Export(
        data_kind=options["data_kind"],
        licence=options["licence"],
        name=options["name"],
        cohort_name=options["validation"].name,
        score_cohorts=options["score_from"],
        plan=replace(FILES, samples=_samples(options), calibrations=options["calibrations"]),
        gate_scans=None if options["data_kind"] == "phantoms" else GATE_SCANS,
        allow_failure=options["allow_parity_failure"],
    )
    return export_run(
        run,
        options["output"],
        validation=options["validation"],
        cache=options["cache"] or cache_of_run(run),
        export=export,
        report=click.echo,
    )


def _plan(options: dict[str, Any]) -> ExportPlan:
    """Return the files that the options name. A precision without a format means LiteRT."""
    from cmbnet.deploy.convert import ExportPlan, Format, Precision

    everything = options["everything"]
    formats: list[Format] = []
    if everything or options["savedmodel"]:
        formats.append("savedmodel")
    precisions = [name for name in ("fp16", "int8") if everything or options[name]]
    any_format = any(options[name] for name in ("savedmodel", "tflite", "onnx", "trt"))
    if everything or options["tflite"] or (precisions and not any_format):
        formats.append("litert")
    if everything or options["onnx"]:
        formats.append("onnx")
    if options["trt"]:
        formats.append("tensorrt")
    names: dict[str, Precision] = {"fp16": "float16", "int8": "int8"}
    return ExportPlan(
        formats=tuple(formats),
        precisions=("float32", *(names[name] for name in precisions)),
        flavor=options["flavor"],
        samples=_samples(options),
        calibrations=options["calibrations"],
        capabilities=options["capabilities"] or None,
        hardware_compatible=options["hardware_compatible"],
        timing_cache=options["timing_cache"],
    )


def _samples(options: dict[str, Any]) -> Samples:
    """The phantoms of the parity gate."""
    from cmbnet.deploy.samples import Samples

    return Samples(anatomy=options["anatomy"], positives=options["parity_cases"])


def _write_triton(bundle: Bundle, options: dict[str, Any]) -> None:
    from cmbnet.bundle import load_bundle
    from cmbnet.deploy.triton.repository import write_repository

    folder: Path = options["triton"]
    kind = write_repository(bundle, folder, network=options["triton_network"])
    (served, *_) = load_bundle(folder / "cmbnet" / "1" / "bundle").manifest.artefacts
    click.echo(f"{folder}: Triton repository, network by {kind} in {served.precision}")


def _serve_what_passed(failed: ParityFailed, options: dict[str, Any]) -> None:
    """Write the Triton repository with the files that passed, although others failed the gate.

    Raises:
        ParityFailed: If no file can be served. The message has both reasons.
    """
    from cmbnet.bundle import load_bundle
    from cmbnet.deploy.gate import ParityFailed

    try:
        _write_triton(load_bundle(failed.folder), options)
    except UsageError as error:
        words = f"{failed}; no Triton repository was written: {error}"
        raise ParityFailed(words, failed.folder) from error
