"""From a finished run to a bundle: converted networks, operating points, and their origin."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cmbnet import __version__
from cmbnet.backends import open_backend
from cmbnet.bundle import (
    Artefact,
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
from cmbnet.deploy.judge import CALIBRATIONS, Judge, Redrawn, accepted, require_passed
from cmbnet.deploy.samples import Samples
from cmbnet.errors import UnreadableFile, UsageError
from cmbnet.io.digest import content_sha256
from cmbnet.lesions import LesionRules
from cmbnet.model.files import load_model
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.slices import SliceContext
from cmbnet.training.choose.artefacts import (
    REPRESENTATIVE_STACKS,
    ArtefactPlan,
    gate_cases,
    make_artefact,
    make_artefacts,
    representative_stacks,
    tool_versions,
)
from cmbnet.training.choose.candidates import offers_of
from cmbnet.training.choose.operating_points import (
    CUTS,
    choose_operating_points,
    rule_variants,
)
from cmbnet.training.choose.statement import is_of_patients, statement
from cmbnet.training.data.cohort import list_cohort, require_other_patients, stated_patients
from cmbnet.training.data.reader import Cache, locate
from cmbnet.training.data.sources import patients_of
from cmbnet.training.fit.recipe import Recipe, load_recipe
from cmbnet.training.fit.run_files import BEST_MODEL, DESCRIPTION, LOG, RECIPE

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
        plan: Files of the network.
        cohort_name: Of the validation cohort, for the manifest.
        teachers: Other labelled cohorts, which the lesion score is learned from; without any it
            is learned from the validation cohort, in folds.
        gate_scans: Scans of the validation cohort on which every file must find the lesions that
            the Keras network finds; 0 leaves the gate out.
        gate_phantoms: Phantoms to judge on instead, as exports do: hundreds of lesions on few
            slices, where a cohort has too few for one in a hundred to mean anything.
        calibrations: Attempts at a file in 8 bits until it counts as failed.
        allow_failure: Keep going, and say so in the bundle, if the gate fails.
    """

    data_kind: DataKind
    licence: str
    name: str = "cmbnet"
    plan: ArtefactPlan = field(default_factory=ArtefactPlan)
    cohort_name: str = "validation phantoms"
    teachers: tuple[Path, ...] = ()
    gate_scans: int = 6
    gate_phantoms: Samples | None = None
    calibrations: int = CALIBRATIONS
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
            f"--score-from {validation} is the validation cohort: thresholds must be chosen on "
            "scans that the score has not seen; leave it out, and folds see to that"
        )
    judged = stated_patients(validation)
    require_other_patients(patients_of(*locate(cache, None)), judged, f"{run} and {validation}")
    for cohort in export.teachers:
        require_other_patients(stated_patients(cohort), judged, f"{cohort} and {validation}")
    recipe = load_recipe(run / RECIPE)
    model, config = load_model(run / BEST_MODEL), recipe.model.config()
    stacks = representative_stacks(Cache(cache), recipe, REPRESENTATIVE_STACKS)
    artefacts = make_artefacts(model, config, export.plan, stacks, report=report)
    spec = _spec(run, recipe, export, validation)
    bundle = write_bundle(folder, spec=spec, artefacts=artefacts)
    rules, points = _operating_points(bundle, validation, export, report)
    spec = replace(spec, rules=rules, operating_points=points)
    bundle = write_bundle(folder, spec=spec, artefacts=artefacts)
    if not (export.gate_scans and export.plan.with_keras):
        return bundle
    phantoms = export.gate_phantoms
    cases = phantoms.judged() if phantoms else gate_cases(validation, export.gate_scans)

    def redrawn(artefact: Artefact, attempts: int) -> NewArtefact | None:
        if artefact.precision != "int8":
            return None
        report(f"{artefact.file}: made again, calibrated on other slices")
        others = representative_stacks(Cache(cache), recipe, REPRESENTATIVE_STACKS, draw=attempts)
        shape = artefact.shape[1], artefact.shape[2]
        return make_artefact(model, config, shape, "int8", others)[0]

    judge = Judge(bundle, cases, report, calibrations=export.calibrations)
    return _judged(bundle, judge, redrawn, allow_failure=export.allow_failure)


def _judged(bundle: Bundle, judge: Judge, redrawn: Redrawn, *, allow_failure: bool) -> Bundle:
    """Put the verdict of the parity gate into the manifest."""
    judged = []
    for artefact in bundle.artefacts("litert"):
        settled = judge.settled(artefact.file, redrawn)
        judged.append(replace(settled, parity={**artefact.parity, **settled.parity}))
    if allow_failure:
        judged = [accepted(new) for new in judged]
    bundle = add_artefacts(bundle, judged)
    require_passed(judged, bundle.path)
    return bundle


def _operating_points(
    bundle: Bundle, validation: Path, export: Export, report: Callable[[str], None]
) -> tuple[LesionRules, tuple[OperatingPoint, ...]]:
    """Run the bundle, as it will be used, over the validation cohort."""
    # The default on CPUs, which is judged only later and so is not chosen unasked.
    backend = open_backend(bundle, "litert:int8" if export.plan.int8_shapes else "auto")
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
    millimetres = recipe.sampling.context_mm
    return BundleSpec(
        name=export.name,
        licence=export.licence,
        recipe=PreprocessRecipe.from_dict(description["preprocess"]),
        context=SliceContext("adjacent" if millimetres is None else None, millimetres),
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
