"""From a finished run to a bundle: converted networks, operating points, and their origin."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cmbnet import __version__
from cmbnet.backends import open_backend
from cmbnet.bundle import (
    Bundle,
    BundleSpec,
    NewArtefact,
    OperatingPoint,
    Training,
    add_artefacts,
    write_bundle,
)
from cmbnet.bundle.manifest import ChosenOn
from cmbnet.data_kind import DataKind
from cmbnet.deploy.convert import Converter, ExportPlan, tool_versions
from cmbnet.deploy.judge import Judge, require_passed
from cmbnet.deploy.litert import DEFAULT_SHAPES
from cmbnet.errors import UnreadableFile, UsageError
from cmbnet.io.digest import content_sha256
from cmbnet.lesions import LesionRules
from cmbnet.model.files import copy_at_shape, load_model, save_model
from cmbnet.model.half_weights import round_to_half
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.slices import SliceContext
from cmbnet.training.choose.candidates import offers_of
from cmbnet.training.choose.operating_points import (
    CUTS,
    choose_operating_points,
    rule_variants,
)
from cmbnet.training.choose.samples import cached_slices, gate_cases
from cmbnet.training.choose.statement import is_of_patients, statement
from cmbnet.training.data.cohort import list_cohort, require_other_patients, stated_patients
from cmbnet.training.data.reader import locate
from cmbnet.training.data.sources import patients_of
from cmbnet.training.fit.recipe import Recipe, load_recipe
from cmbnet.training.fit.run_files import BEST_MODEL, DESCRIPTION, LOG, RECIPE

KERAS_FILE = "model.keras"

FILES = ExportPlan(
    formats=("litert",),
    precisions=("int8", "float32"),
    shapes=DEFAULT_SHAPES,
    float32_shapes=DEFAULT_SHAPES[:1],
)
"""What every bundle of a run holds beside the network: int8 is the default on CPUs."""

GATE_SCANS = 6

_UNDECIDED = OperatingPoint(
    name="balanced", pixel_threshold=0.5, lesion_score=0.0, patient_threshold=0.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What to export, and how.

    Args:
        data_kind: What the scans are that network and score were learned from and points chosen on.
        licence: Of the bundle.
        name: Of the bundle.
        plan: Files that are made of the network; int8 is calibrated on the training cache where
            the plan has no slices of its own.
        cohort_name: Of the validation cohort, for the manifest.
        teachers: Other labelled cohorts, which the lesion score is learned from; without any it
            is learned from the validation cohort, in folds.
        gate_scans: Scans of the validation cohort on which every file must find the lesions that
            the Keras network finds; None judges on the phantoms of the plan, as other exports
            do: hundreds of lesions on few slices, where a cohort has too few for one in a
            hundred to mean anything.
        allow_failure: Keep going, and say so in the bundle, if the gate fails.
    """

    data_kind: DataKind
    licence: str
    name: str = "cmbnet"
    plan: ExportPlan = FILES
    cohort_name: str = "validation phantoms"
    teachers: tuple[Path, ...] = ()
    gate_scans: int | None = GATE_SCANS
    allow_failure: bool = False


def export_run(
    run: Path,
    folder: Path,
    *,
    validation: Path,
    cache: Path,
    export: Export,
    report: Callable[[str], None],
) -> Bundle:
    """Write the bundle of a run.

    Args:
        run: Directory of `cmbnet.training.fit.loop.train`.
        folder: Of the bundle.
        validation: Cohort on whose scans the operating points are chosen.
        cache: Training cache: int8 ranges are measured on its slices.
        export: Settings.
        report: Receives what was done, line by line.

    Raises:
        UsageError: If network or score were learned from the patients that thresholds are chosen
            on.
        UnreadableFile: If the run is not finished.
        ParityFailed: If a file does not find what the Keras network finds; the bundle is written
            and says so.
    """
    if validation.resolve() in (cohort.resolve() for cohort in export.teachers):
        raise UsageError(
            f"the score cannot be learned from the validation cohort {validation}: thresholds must "
            "be chosen on scans that it has not seen; leave it out, and folds see to that",
            argument="score_from",
        )
    judged = stated_patients(validation)
    require_other_patients(patients_of(*locate(cache, None)), judged, f"{run} and {validation}")
    for cohort in export.teachers:
        require_other_patients(stated_patients(cohort), judged, f"{cohort} and {validation}")
    recipe = load_recipe(run / RECIPE)
    spec = _spec(run, recipe, export, validation)
    network = _network(run, recipe, spec.recipe.size)
    report(f"{network.file}: {len(network.content) / 1024:.0f} KiB")
    bundle = write_bundle(folder, spec=spec, artefacts=[network])
    calibration = export.plan.calibration or cached_slices(cache, recipe)
    plan = replace(export.plan, calibration=calibration)
    converter = Converter(bundle, plan, report)
    made = list(converter.artefacts())
    rules, points = _operating_points(add_artefacts(bundle, made), validation, export, report)
    spec = replace(spec, rules=rules, operating_points=points)
    bundle = write_bundle(folder, spec=spec, artefacts=[network, *made])
    few = export.gate_scans
    cases = plan.samples.judged() if few is None else gate_cases(validation, few)
    judge = Judge(bundle, cases, report, calibrations=plan.calibrations)
    settled = judge.all_settled(made, converter.redrawn, allow_failure=export.allow_failure)
    bundle = add_artefacts(bundle, settled)
    require_passed(settled, folder)
    return bundle


def _network(run: Path, recipe: Recipe, size: int) -> NewArtefact:
    """The best network of a run at the shape of the whole frame: every file is made of it.

    Its weights are first rounded to what half precision holds.
    """
    model, config = load_model(run / BEST_MODEL), recipe.model.config()
    round_to_half(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / KERAS_FILE
        save_model(copy_at_shape(model, config, (size, size, config.input_slices)), config, path)
        return NewArtefact(
            file=KERAS_FILE,
            content=path.read_bytes(),
            kind="keras",
            precision="float32",
            shape=(1, size, size, 3),
            tools=tool_versions("keras"),
        )


def _operating_points(
    bundle: Bundle, validation: Path, export: Export, report: Callable[[str], None]
) -> tuple[LesionRules, tuple[OperatingPoint, ...]]:
    """Run the bundle, as it will be used, over the validation cohort."""
    # The default on CPUs, which is judged only later and so is not chosen unasked.
    backend = open_backend(bundle, "litert:int8")
    try:
        offers = offers_of([validation], bundle, backend, cuts=CUTS, report=report)
        teachers = (
            offers_of(export.teachers, bundle, backend, cuts=CUTS, report=report)
            if export.teachers
            else None
        )
    finally:
        backend.close()
    chosen = choose_operating_points(
        offers,
        cohort=export.cohort_name,
        variants=rule_variants(bundle.manifest.rules),
        learn=True,
        teachers=teachers,
    )
    for line in chosen.report:
        report(line)
    for point in chosen.points:
        report(f"{point.name}: {point.model_dump_json(exclude={'name'})}")
    return chosen.rules, chosen.points


def _spec(run: Path, recipe: Recipe, export: Export, validation: Path) -> BundleSpec:
    """The manifest without its artefacts."""
    description = _description(run)
    return BundleSpec(
        name=export.name,
        licence=export.licence,
        recipe=PreprocessRecipe.from_dict(description["preprocess"]),
        context=SliceContext(recipe.sampling.context_mm),
        rules=LesionRules(),
        operating_points=(_UNDECIDED,),
        default_operating_point="balanced",
        training=Training(
            statement=statement(export.data_kind),
            real_patient_data=is_of_patients(export.data_kind),
            data=(
                *(_cohort_line(role, description[role]) for role in ("training", "validation")),
                *(f"lesion score: learned from the scans of {c.name}" for c in export.teachers),
            ),
            chosen_on=ChosenOn(
                data_kind=export.data_kind,
                scans=tuple(content_sha256(case.image) for case in list_cohort(validation)),
            ),
            details=_details(run, recipe, description),
        ),
        versions=tool_versions("tensorflow", "keras", "ai-edge-litert") | {"cmbnet": __version__},
    )


def _details(
    run: Path, recipe: Recipe, description: dict[str, Any]
) -> dict[str, str | float | int | bool]:
    """How the network was trained."""
    with (run / LOG).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("val_dice")]
    monitor = f"val_{recipe.validation.monitor}"
    best = max(rows, key=lambda row: float(row[monitor]))
    config = recipe.model.config()
    return {
        "recipe": recipe.name,
        "channels": "/".join(str(n) for n in config.channels),
        "seed": recipe.seed,
        "epochs": len(rows),
        "minutes": round(float(rows[-1]["time_s"]) / 60.0, 1),
        "best_epoch": int(best["epoch"]),
        "validation_dice": float(best[monitor]),
        "validation_dice_by_epoch": " ".join(f"{float(row[monitor]):.3f}" for row in rows),
        "git_revision": str(description["git_revision"]),
    }


def _description(run: Path) -> dict[str, Any]:
    """What the run says it was made of."""
    try:
        values: dict[str, Any] = json.loads((run / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"a finished run is required in {run}: {error}") from error
    return values


def _cohort_line(role: str, cohort: dict[str, Any]) -> str:
    """A cohort in a sentence."""
    return (
        f"{role}: {cohort['cases']} cases ({cohort['controls']} without lesions), "
        f"{cohort['lesions']} lesions, {cohort['slices']} slices"
    )
