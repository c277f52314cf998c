"""``cmbnet export``: turn a bundle or a training run into the files that other runtimes read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli import options
from cmbnet.errors import UsageError

if TYPE_CHECKING:
    from cmbnet.bundle import Bundle
    from cmbnet.deploy.convert import ExportPlan, Format, Precision
    from cmbnet.deploy.gate import ParityFailed
    from cmbnet.deploy.samples import Samples

FORMATS: dict[str, Format] = {
    "savedmodel": "savedmodel",
    "tflite": "litert",
    "onnx": "onnx",
    "trt": "tensorrt",
}
"""The format of each option."""
_FLAVORS = click.Choice(["auto", "rtx", "datacenter"])
_NETWORKS = click.Choice(["auto", "litert", "onnx", "tensorrt"])


@click.command("export", epilog=RESEARCH_USE_ONLY)
@click.argument("bundle")
@click.option("-o", "--output", type=options.FOLDER,
              help="New or empty folder for a copy of the bundle. For a training "
                   "run, the new bundle.")  # fmt: skip
@click.option("--savedmodel", is_flag=True, help="Make a TensorFlow SavedModel, in float32.")
@click.option("--tflite", is_flag=True, help="Make LiteRT (TensorFlow Lite) files.")
@click.option("--onnx", is_flag=True, help="Make ONNX files. Their batch size is free.")
@click.option("--trt", is_flag=True, help="Make TensorRT engines. --flavor chooses their kind.")
@click.option("--fp16", is_flag=True, help="Also make the files in half precision.")
@click.option("--int8", is_flag=True, help="Also make the files in 8 bits, calibrated on phantoms.")
@click.option("--all", "everything", is_flag=True,
              help="Make SavedModel, LiteRT and ONNX, in all precisions.")  # fmt: skip
@click.option("--triton", type=options.FOLDER,
              help="Write a Triton model repository to this folder.")  # fmt: skip
@click.option("--triton-network", type=_NETWORKS, default="auto",
              help="Runtime of the network in the Triton repository.")  # fmt: skip
@click.option("--flavor", type=_FLAVORS, default="auto", show_default=True,
              help="Kind of TensorRT for --trt.")  # fmt: skip
@click.option("--capability", "capabilities", multiple=True,
              help="With --flavor rtx, a GPU to build for, such as SM86. You may "
                   "repeat it.")  # fmt: skip
@click.option("--hardware-compatible", is_flag=True,
              help="With --flavor datacenter, build for every GPU from Ampere on.")  # fmt: skip
@click.option("--timing-cache", type=options.FILE,
              help="With --flavor datacenter, file that keeps kernel timings from "
                   "build to build.")  # fmt: skip
@click.option("--allow-parity-failure", is_flag=True,
              help="Accept files that fail the parity gate. The bundle records it.")  # fmt: skip
@click.option("--parity-cases", type=click.IntRange(1), default=6, show_default=True,
              help="Number of phantoms with lesions on which the gate judges.")  # fmt: skip
@click.option("--calibrations", type=click.IntRange(1), default=3, show_default=True,
              help="Number of attempts at an int8 file if it fails. Each uses "
                   "other calibration scans.")  # fmt: skip
@click.option("--anatomy", type=click.Choice(["mni", "procedural"]), default="mni", hidden=True)
@click.option("--validation", type=options.OLD_PATH,
              help="For a training run, scans on which thresholds are chosen: a data spec (with "
                   "--root), a cache, or a cohort folder. Of sides, validation is "
                   "taken.")  # fmt: skip
@click.option("--score-from", type=options.OLD_PATH, multiple=True,
              help="For a training run, scans to learn the lesion score from, given in the same "
                   "way. Of sides, training is taken.")  # fmt: skip
@options.root
@click.option("--cache", type=options.OLD_PATH,
              help="For a training run, its cache of training scans.  [default: "
                   "RUN/cache or RUN/training]")  # fmt: skip
@click.option("--name", default="cmbnet", help="For a training run, name of the new bundle.")
@options.data_kind("For a training run, what kind of scans it used.")
@click.option("--licence",
              help="For a training run, licence of the bundle, as an SPDX name or "
                   "in words.")  # fmt: skip
def command(**given: Any) -> None:
    """Turn BUNDLE into files that other runtimes read, and check that they find the same lesions.

    BUNDLE is one of three: a folder that holds bundle.json, "default" for the model in the
    package, or the folder of a finished training run. A training run becomes a bundle first, and
    needs -o, --validation, --data-kind and --licence. The files go into the bundle, or into a
    copy of it at -o. Without -o, the default model is copied to ./NAME-export.
    """
    from cmbnet.deploy.gate import ParityFailed

    if given["triton"]:
        from cmbnet.deploy.triton.repository import require_place

        require_place(given["triton"])
    try:
        bundle = _export(given)
    except ParityFailed as failed:
        if given["triton"]:
            _serve_what_passed(failed, given)
        raise
    if given["triton"]:
        _write_triton(bundle, given)
    click.echo(f"{bundle.path}  sha256 {bundle.sha256}")
    click.echo(RESEARCH_USE_ONLY)


def _export(given: dict[str, Any]) -> Bundle:
    """Make the files that the given name, and return the bundle on disk."""
    from cmbnet.deploy.export import export_bundle, load_for_export

    output: Path | None = given["output"]
    if is_run(given["bundle"]):
        bundle, output = _bundle_of_run(given), None
    else:
        bundle = load_for_export(given["bundle"])
    plan = _plan(given)
    if plan.formats:
        if given["bundle"] == "default" and output is None:
            output = Path(f"{bundle.manifest.name}-export")
        return export_bundle(
            bundle, output, plan, allow_failure=given["allow_parity_failure"], report=click.echo
        )
    if not given["triton"] and not is_run(given["bundle"]):
        raise UsageError("nothing to export: give --tflite, --onnx, --trt, --triton DIR or --all")
    return bundle


def is_run(name: str) -> bool:
    """Return whether a folder is a training run, and not a bundle."""
    from cmbnet.bundle.manifest import MANIFEST_NAME

    folder = Path(name)
    return (folder / "best.keras").is_file() and not (folder / MANIFEST_NAME).is_file()


def _bundle_of_run(given: dict[str, Any]) -> Bundle:
    """Write the bundle of a training run to the output folder."""
    needed = {"output": "-o FOLDER", "validation": "--validation COHORT",
              "data_kind": "--data-kind KIND", "licence": "--licence NAME"}  # fmt: skip
    missing = [words for name, words in needed.items() if not given[name]]
    if missing:
        raise UsageError(f"{given['bundle']} is a training run: it needs {', '.join(missing)}")
    from cmbnet.training.choose.bundle_writer import FILES, GATE_SCANS, Export, export_run
    from cmbnet.training.data.labelled import read_labelled
    from cmbnet.training.data.sources import cache_of_run
    from cmbnet.training.data.specs.splits import TRAINING, VALIDATION

    run, root = Path(given["bundle"]), given["root"]
    score_from = [read_labelled(path, root, role=TRAINING) for path in given["score_from"]]
    export = Export(
        data_kind=given["data_kind"],
        licence=given["licence"],
        name=given["name"],
        cohort_name=given["validation"].name,
        score_cohorts=tuple(score_from),
        plan=replace(FILES, samples=_samples(given), calibrations=given["calibrations"]),
        gate_scans=None if given["data_kind"] == "phantoms" else GATE_SCANS,
        allow_failure=given["allow_parity_failure"],
    )
    return export_run(
        run,
        given["output"],
        validation=read_labelled(given["validation"], root, role=VALIDATION),
        cache=given["cache"] or cache_of_run(run),
        export=export,
        report=click.echo,
    )


def _plan(given: dict[str, Any]) -> ExportPlan:
    """Return the files that the given name. A precision without a format means LiteRT."""
    from cmbnet.deploy.convert import ExportPlan

    names: dict[str, Precision] = {"fp16": "float16", "int8": "int8"}
    precisions = [name for name in names if given["everything"] or given[name]]
    wanted = {name for name in FORMATS if given[name]}
    if given["everything"]:
        wanted |= {"savedmodel", "tflite", "onnx"}
    elif precisions and not wanted:
        wanted = {"tflite"}
    return ExportPlan(
        formats=tuple(one for name, one in FORMATS.items() if name in wanted),
        precisions=("float32", *(names[name] for name in precisions)),
        flavor=given["flavor"],
        samples=_samples(given),
        calibrations=given["calibrations"],
        capabilities=given["capabilities"] or None,
        hardware_compatible=given["hardware_compatible"],
        timing_cache=given["timing_cache"],
    )


def _samples(given: dict[str, Any]) -> Samples:
    """Return the phantoms of the parity gate."""
    from cmbnet.deploy.samples import Samples

    return Samples(anatomy=given["anatomy"], positives=given["parity_cases"])


def _write_triton(bundle: Bundle, given: dict[str, Any]) -> None:
    from cmbnet.bundle import load_bundle
    from cmbnet.deploy.triton.repository import write_repository

    folder: Path = given["triton"]
    kind = write_repository(bundle, folder, network=given["triton_network"])
    (served, *_) = load_bundle(folder / "cmbnet" / "1" / "bundle").manifest.artefacts
    click.echo(f"{folder}: Triton repository, network by {kind} in {served.precision}")


def _serve_what_passed(failed: ParityFailed, given: dict[str, Any]) -> None:
    """Write the Triton repository with the files that passed, although others failed the gate."""
    from cmbnet.bundle import load_bundle
    from cmbnet.deploy.gate import ParityFailed

    try:
        _write_triton(load_bundle(failed.folder), given)
    except UsageError as error:
        words = f"{failed}; no Triton repository was written: {error}"
        raise ParityFailed(words, failed.folder) from error
