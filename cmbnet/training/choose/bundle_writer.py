"""Make a bundle of a finished run: converted networks, operating points, and their origin."""

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
    load_bundle,
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
from cmbnet.training.choose.candidates import find_candidates
from cmbnet.training.choose.operating_points import (
    ENOUGH,
    OUTLINES,
    choose_operating_points,
    lesions_of,
    rule_variants,
)
from cmbnet.training.choose.samples import cached_slices, gate_cases
from cmbnet.training.choose.statement import continued, is_of_patients, statement
from cmbnet.training.data.cache_index import side_of
from cmbnet.training.data.labelled import Labelled, require_other_patients
from cmbnet.training.data.sources import patients_of
from cmbnet.training.data.specs.splits import TRAINING
from cmbnet.training.fit.recipe import Recipe, load_recipe
from cmbnet.training.fit.run_files import BEST_MODEL, DESCRIPTION, LOG, RECIPE

KERAS_FILE = "model.keras"

FILES = ExportPlan(
    formats=("litert",),
    precisions=("int8", "float32"),
    shapes=DEFAULT_SHAPES,
    float32_shapes=DEFAULT_SHAPES[:1],
)
"""The files of every bundle beside the network. The default on CPUs is int8."""

GATE_SCANS = 6
STARTED_FROM = "started_from_sha256"
_ROLES = ("training", "validation")

_UNDECIDED = OperatingPoint(
    name="balanced", pixel_threshold=0.5, lesion_score=0.0, patient_threshold=0.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The settings of an export."""

    data_kind: DataKind  # Kind of the scans from which network, score and operating points come
    licence: str  # Licence of the bundle
    name: str = "cmbnet"  # Name of the bundle
    # Files to make from the network. If the plan has no calibration slices, int8 is calibrated on
    # the training cache.
    plan: ExportPlan = FILES
    cohort_name: str = "validation phantoms"  # Name of the validation cohort in the manifest
    # Other labelled cohorts, from which the lesion score is learned. Without any it is learned from
    # the validation cohort, in folds. The score of the bundle from which a run started stays unless
    # a new one chooses better.
    score_cohorts: tuple[Labelled, ...] = ()
    # Scans of the validation cohort on which every file must find the lesions that the Keras
    # network finds. None judges on the phantoms of the plan, as other exports do. They have
    # hundreds of lesions on few slices; a cohort often has too few for a limit of one in a hundred.
    gate_scans: int | None = GATE_SCANS
    # Whether to keep files that fail the gate. The bundle then says so.
    allow_failure: bool = False


def export_run(
    run: Path,
    folder: Path,
    *,
    validation: Labelled,
    cache: Path,
    export: Export,
    report: Callable[[str], None],
) -> Bundle:
    """Write the bundle of a run.

    `run` is a folder that `cmbnet.training.fit.loop.train` wrote. Operating points are chosen on
    `validation`; int8 ranges are measured on slices of `cache`.

    Raises:
        UsageError: If the network or the score was learned from a patient of the validation
            cohort.
        UnreadableFile: If the run is not finished.
        ParityFailed: If a file does not find what the Keras network finds; the bundle is written
            and says so.
    """
    images = {case.image.resolve() for case in validation.cases}
    if images & {one.image.resolve() for cohort in export.score_cohorts for one in cohort.cases}:
        raise UsageError(
            f"the score cannot be learned from scans of {validation.path}: thresholds must "
            "be chosen on scans that it has not seen; leave it out, and folds see to that",
            argument="score_from",
        )
    patients = validation.patients
    learned, where = patients_of(*side_of(cache, TRAINING)), f"and {validation.path}"
    require_other_patients(learned, patients, f"{run} {where}")
    for cohort in export.score_cohorts:
        require_other_patients(cohort.patients, patients, f"{cohort.path} {where}")
    recipe = load_recipe(run / RECIPE)
    spec = _spec(run, recipe, export, validation)
    network = _network(run, recipe, spec.recipe.size)
    report(f"{network.file}: {len(network.content) / 1024:.0f} KiB")
    bundle = write_bundle(folder, spec=spec, artefacts=[network])
    calibration = export.plan.calibration or cached_slices(cache, recipe)
    plan = replace(export.plan, calibration=calibration)
    converter = Converter(bundle, plan, report)
    made = list(converter.artefacts())
    before = None if recipe.start_from is None else load_bundle(recipe.start_from).manifest
    rules, points = _operating_points(
        add_artefacts(bundle, made), validation, export, report,
        before.operating_points if before else (),
    )  # fmt: skip
    spec = replace(spec, rules=rules, operating_points=points)
    bundle = write_bundle(folder, spec=spec, artefacts=[network, *made])
    few = export.gate_scans
    cases = plan.samples.judged() if few is None else gate_cases(validation, few)
    judge = Judge(bundle, cases, report, calibrations=plan.calibrations)
    judged = judge.judge_all(made, converter.make_again, allow_failure=export.allow_failure)
    bundle = add_artefacts(bundle, judged)
    require_passed(judged, folder)
    return bundle


def _network(run: Path, recipe: Recipe, size: int) -> NewArtefact:
    """Save the best network of a run at the shape of the whole frame. Every file is made from it.

    Its weights are first rounded to numbers that half precision holds.
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
    bundle: Bundle,
    validation: Labelled,
    export: Export,
    report: Callable[[str], None],
    start: tuple[OperatingPoint, ...] = (),
) -> tuple[LesionRules, tuple[OperatingPoint, ...]]:
    """Choose the operating points by running the bundle over the validation cohort."""
    # int8 is the default on CPUs. It is judged only later, so it must be named here.
    backend = open_backend(bundle, "litert:int8")
    try:
        candidates = find_candidates(
            [validation], bundle, backend, outlines=OUTLINES, report=report
        )
        learn = not start or lesions_of(candidates) >= ENOUGH
        score_candidates = (
            find_candidates(export.score_cohorts, bundle, backend, outlines=OUTLINES, report=report)
            if export.score_cohorts and learn
            else None
        )
    finally:
        backend.close()
    rules = bundle.manifest.rules
    chosen = choose_operating_points(
        candidates,
        cohort=export.cohort_name,
        variants=rule_variants(rules) if rules.evidence is None else (rules,),
        learn=learn,
        score_candidates=score_candidates,
        start=start,
    )
    for line in chosen.report:
        report(line)
    for point in chosen.points:
        report(f"{point.name}: {point.model_dump_json(exclude={'name'})}")
    return chosen.rules, chosen.points


def _spec(run: Path, recipe: Recipe, export: Export, validation: Labelled) -> BundleSpec:
    """Make the manifest without its artefacts. Rules and origin of a start bundle are kept."""
    description = _description(run)
    start = None if recipe.start_from is None else load_bundle(recipe.start_from)
    before, again = (None, "") if start is None else (start.manifest.training, "trained further, ")
    return BundleSpec(
        name=export.name,
        licence=export.licence,
        recipe=PreprocessRecipe.from_dict(description["preprocess"]),
        context=SliceContext(recipe.sampling.context_mm),
        rules=LesionRules(in_tissue=True) if start is None else start.manifest.rules,
        operating_points=(_UNDECIDED,),
        default_operating_point="balanced",
        training=Training(
            statement=(
                statement(export.data_kind)
                if before is None
                else continued(before.statement, export.data_kind)
            ),
            real_patient_data=is_of_patients(export.data_kind)
            or (before is not None and before.real_patient_data),
            data=(
                *(() if before is None else before.data),
                *(_cohort_line(f"{again}{role}", description[role]) for role in _ROLES),
                *(
                    f"lesion score: learned from the scans of {c.path.name}"
                    for c in export.score_cohorts
                ),
            ),
            chosen_on=ChosenOn(
                data_kind=export.data_kind,
                scans=tuple(content_sha256(case.image) for case in validation.cases),
            ),
            details=_details(run, recipe, description),
        ),
        versions=tool_versions("tensorflow", "keras", "ai-edge-litert")
        | {"cmbnet": __version__}
        | ({} if start is None else {STARTED_FROM: start.sha256}),
    )


def _details(
    run: Path, recipe: Recipe, description: dict[str, Any]
) -> dict[str, str | float | int | bool]:
    """Describe the training of the network."""
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
    """Read the description that the run wrote of itself."""
    try:
        values: dict[str, Any] = json.loads((run / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"a finished run is required in {run}: {error}") from error
    return values


def _cohort_line(role: str, cohort: dict[str, Any]) -> str:
    """Describe a cohort in one line."""
    return (
        f"{role}: {cohort['cases']} cases ({cohort['controls']} without lesions), "
        f"{cohort['lesions']} lesions, {cohort['slices']} slices"
    )
