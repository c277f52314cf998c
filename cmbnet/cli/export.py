"""``cmbnet export``: a bundle (or a training run) in, what hospitals and clouds run out."""

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
    "-o", "--output", type=click.Path(path_type=Path), help="Folder of a copy, new or empty."
)
@click.option("--savedmodel", is_flag=True, help="TensorFlow SavedModel, float32.")
@click.option("--tflite", is_flag=True, help="LiteRT (TensorFlow Lite).")
@click.option("--onnx", is_flag=True, help="ONNX, free batch.")
@click.option("--trt", is_flag=True, help="TensorRT engine.")
@click.option("--fp16", is_flag=True, help="Also in half precision.")
@click.option("--int8", is_flag=True, help="Also in 8 bits, calibrated on phantoms.")
@click.option("--all", "everything", is_flag=True, help="SavedModel, LiteRT, ONNX; all precisions.")
@click.option("--triton", type=click.Path(path_type=Path), help="Write a Triton model repository.")
@click.option("--triton-network", type=_NETWORKS, default="auto", help="What it runs.")
@click.option("--flavor", type=_FLAVORS, default="auto", show_default=True, help="Which TensorRT.")
@click.option("--capability", "capabilities", multiple=True, help="GPU for --flavor rtx: SM86 ...")
@click.option(
    "--hardware-compatible", is_flag=True, help="Data centre: for every GPU from Ampere on."
)
@click.option(
    "--timing-cache",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Data centre: kernel timings, kept from build to build.",
)
@click.option("--allow-parity-failure", is_flag=True, help="Accept what fails the parity gate.")
@click.option(
    "--parity-cases", type=click.IntRange(1), default=6, show_default=True,
    help="Phantoms with lesions that the gate judges on.",
)  # fmt: skip
@click.option(
    "--calibrations", type=click.IntRange(1), default=3, show_default=True,
    help="Attempts at an int8 file that fails the gate, each calibrated on other scans.",
)  # fmt: skip
@click.option("--anatomy", type=click.Choice(["mni", "procedural"]), default="mni", hidden=True)
@click.option("--validation", type=_DIRECTORY, help="Of a training run: scans for thresholds.")
@click.option(
    "--score-from", type=_DIRECTORY, multiple=True,
    help="Of a run: scans to learn the lesion score from, such as those it was trained on.",
)  # fmt: skip
@click.option(
    "--cache", type=click.Path(exists=True, path_type=Path), help="Of a run: RUN/training."
)
@click.option("--name", default="cmbnet", help="Of a run: name of the bundle.")
@click.option("--data-kind", type=click.Choice(list(KINDS)), help="Of a run: what its scans are.")
@click.option("--licence", help="Of a run: licence of the bundle, as an SPDX name or in words.")
def command(**options: Any) -> None:
    """Turn BUNDLE into what hospitals and clouds run, and prove that it finds the same lesions.

    BUNDLE is a folder that holds bundle.json, "default" for the model in the package, or the
    folder of a finished training run, which becomes a bundle first and needs -o, --validation,
    --data-kind and --licence. Artefacts are added to the bundle itself, or to a copy at -o. The
    default model is copied to ./NAME-export where no -o is given.
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
    """The bundle with all that was asked for, as it is on disk."""
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
    """Whether a folder is a training run and no bundle."""
    from cmbnet.bundle.manifest import MANIFEST_NAME

    folder = Path(name)
    return (folder / "best.keras").is_file() and not (folder / MANIFEST_NAME).is_file()


def _bundle_of_run(options: dict[str, Any]) -> Bundle:
    """The bundle of a training run, written to the output folder."""
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
        teachers=options["score_from"],
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
    """What the flags ask for. A precision without a format is of LiteRT."""
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
    """Write the Triton repository though a gate failed: of what passed it.

    Raises:
        ParityFailed: If there is nothing that could be served, with both reasons.
    """
    from cmbnet.bundle import load_bundle
    from cmbnet.deploy.gate import ParityFailed

    try:
        _write_triton(load_bundle(failed.folder), options)
    except UsageError as error:
        words = f"{failed}; no Triton repository was written: {error}"
        raise ParityFailed(words, failed.folder) from error
