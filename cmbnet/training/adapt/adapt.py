"""`adapt`: train a bundle further on reviewed scans, and say whether that helped."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cmbnet.bundle import Bundle, load_bundle
from cmbnet.bundle.card import CardContent, model_card
from cmbnet.bundle.manifest import MANIFEST_NAME
from cmbnet.data_kind import DataKind
from cmbnet.deploy.bundles import changed_manifest, copy_bundle
from cmbnet.deploy.convert import ExportPlan
from cmbnet.deploy.gate import ParityFailed
from cmbnet.deploy.samples import Samples
from cmbnet.errors import InputRefused, UsageError
from cmbnet.evaluation.cohort.images import SUBJECT
from cmbnet.evaluation.cohort.manifest import read_manifest
from cmbnet.io import write_text_atomically
from cmbnet.io.case import Case
from cmbnet.phantom.cohort import CohortPlan, write_cohort
from cmbnet.phantom.template import AnatomyKind
from cmbnet.training.adapt.judge import Judgement, judge
from cmbnet.training.adapt.reviewed import ReviewedCase, read_reviewed, write_reviewed
from cmbnet.training.adapt.sides import (
    HELD_OUT,
    SiteCase,
    gather,
    site_cases,
    split_by_patient,
    write_patients,
)
from cmbnet.training.adapt.suggest import suggestions
from cmbnet.training.choose.bundle_writer import FILES, Export, export_run
from cmbnet.training.data.consensus import Consensus
from cmbnet.training.data.labelled import read_labelled
from cmbnet.training.data.reader import Cache
from cmbnet.training.data.sources import Sources, cache_of_run, caches_of
from cmbnet.training.data.specs.splits import TRAINING, VALIDATION
from cmbnet.training.fit.loop import train
from cmbnet.training.fit.recipe import Recipe, parse_recipe
from cmbnet.training.fit.start import preprocessing_of, with_start
from cmbnet.training.fit.storage import alone_in

FEWEST_CASES = 8
FEWEST_REPLAYED = 8
REPLAY_SEED = 640_000
"""Seed of the replayed phantoms, to which that of the adaptation is added. No other cohort of this
project has such a seed, so they share no head with those that the start has seen."""

CARD = "MODEL_CARD.md"
EXPORTED = "exported.txt"
PLAN = "adaptation.json"


START_SHARE = 0.5
"""Share of the old weights in the new network, unless the recipe states one. Of several shares it
carried over best to scans of another simulator."""

RECIPE: dict[str, Any] = {
    "name": "adapt",
    "sampling": {"crop_px": 96, "batch_size": 24, "shift_px": 34, "control_share": 0.5,
                 "brain": 0.15, "dark": 0.25, "mimic": 0.3, "mined": 0.3},
    "augment": {"paste_probability": 0.1, "shape_probability": 0.1},
    "loss": {"pixel_weight": 50.0, "overlap": "dice"},
    "optimiser": {"learning_rate": 1e-4, "schedule": "cosine", "warmup_steps": 20,
                  "clip_norm": 1.0, "ema_momentum": 0.98},
    "stop": {"epochs": 4, "steps_per_epoch": 50, "patience_epochs": 0},
    "validation": {"slices": 120, "monitor": "best_dice"},
    "mining": {"every_epochs": 2, "slices": 80},
}  # fmt: skip
"""The recipe of an adaptation. The bundle gives the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """What an adaptation is made of.

    Args:
        start: Folder of the bundle that learns, or "default".
        reviewed: Folders of readers, and cohort folders with ``images/`` and ``lesions/``.
        data_kind: Kind of the reviewed scans.
        scans: The reviewed scans. Without them they are looked for beside the results.
        results: Folder of the results that were reviewed. None takes the one above the reviews.
        patients: CSV with the columns case and patient. None reads BIDS subjects from the names.
        replay: Cohort folder of scans that the bundle must not forget. None makes phantoms.
        anatomy: Anatomy of the phantoms. None takes ``mni`` if nilearn is installed.
        recipe: Training recipe without a start. None takes `RECIPE`.
        how: How several readers of a case agree.
        seed: Seed of the sides, the phantoms and the training.
        jobs: Number of processes that make phantoms and prepare scans.
        backend: Runtime that judges both bundles.
        name: Name of the new bundle. Empty adds ``-adapted`` to the old one.
    """

    start: str
    reviewed: tuple[Path, ...]
    data_kind: DataKind
    scans: tuple[Case, ...] = ()
    results: Path | None = None
    patients: Path | None = None
    replay: Path | None = None
    anatomy: AnatomyKind | None = None
    recipe: Recipe | None = None
    how: Consensus = "majority"
    seed: int = 0
    jobs: int = 1
    backend: str = "auto"
    name: str = ""


Report = Callable[[str], None]


def adapt(
    asked: Adaptation, folder: Path, work: Path, *, anyway: bool = False, report: Report
) -> Bundle:
    """Train a bundle further on reviewed scans, and write the new one if it is not worse.

    Every step keeps what it has made in `work`, and the same call goes on after any interruption.

    Args:
        asked: The adaptation.
        folder: Folder of the new bundle.
        work: Folder of what is made on the way.
        anyway: Whether to write a bundle that is worse.
        report: Function that receives a line for each step.

    Raises:
        CmbnetError: If `read_reviewed`, `train` or `export_run` raises it.
        InputRefused: If there are too few cases, or the new bundle is worse.
        UsageError: If the folder holds a bundle, or `work` another adaptation.
    """
    if (folder / MANIFEST_NAME).exists():
        raise UsageError(f"{folder} holds a bundle already: choose a new one", argument="output")
    start = load_bundle(asked.start)
    drawn = [one for one in asked.reviewed if (one / "images").is_dir()]
    of_readers = [one for one in asked.reviewed if one not in drawn]
    cases = read_reviewed(of_readers, asked.scans, results=asked.results) if of_readers else ()
    work.mkdir(parents=True, exist_ok=True)
    with alone_in(work):
        _claim(work, asked, start, cases)
        site = _site(asked, cases, drawn, work, report)
        sides = _sides(asked, site, work, report)
        run = _train(asked, _recipe(asked, start), work, report)
        bundle = _export(asked, start, run, sides, work, report)
        verdict = judge(start, bundle, work / HELD_OUT, work / "replay-held-out",
                        backend=asked.backend, report=report)  # fmt: skip
    for line in verdict.sentences:
        report(line)
    for line in suggestions([(one.case, one.cohort) for one in cases]):
        report(line)
    if verdict.worse and not anyway:
        raise InputRefused(
            f"the new model is worse: {verdict.worse}; it stays in {bundle.path}. Review more "
            "cases, or accept it",
            argument="anyway",
        )
    return _written(bundle, folder, verdict, work)


def _claim(work: Path, asked: Adaptation, start: Bundle, cases: Sequence[ReviewedCase]) -> None:
    """Write down of what the adaptation is made, or find the same there."""
    settings = {
        "start": start.sha256,
        "readings": [
            [one.name, each.reader, each.review.input_sha256, each.review.finished]
            for one in cases
            for each in one.readings
        ],
        "recipe": None if asked.recipe is None else asked.recipe.model_dump(mode="json"),
    }
    for name in ("reviewed", "data_kind", "patients", "replay", "anatomy", "how", "seed", "name"):
        settings[name] = str(getattr(asked, name))
    text = json.dumps(settings, indent=1) + "\n"
    file = work / PLAN
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{work} holds an adaptation of other cases or settings: choose another folder, or "
            "delete it",
            argument="work",
        )
    write_text_atomically(file, text)


def _site(
    asked: Adaptation,
    cases: Sequence[ReviewedCase],
    drawn: Sequence[Path],
    work: Path,
    report: Report,
) -> list[SiteCase]:
    """Write the reviewed cases as a cohort, with their patients, and add drawn cohorts."""
    site = work / "site"
    if cases and not (site / "cases.csv").exists():
        counts = write_reviewed(cases, site, how=asked.how, report=report)
        patients = _patients(asked.patients, list(counts), report)
        write_patients(site, {name: (patients[name], own) for name, own in counts.items()})
    every = [*([site] if cases else []), *drawn]
    found = list(itertools.chain.from_iterable(map(site_cases, every)))
    if len(found) < FEWEST_CASES:
        raise InputRefused(
            f"{FEWEST_CASES} reviewed cases are required, got {len(found)}; finish more cases on "
            "the page of `cmbnet review`"
        )
    return found


def _patients(table: Path | None, names: Sequence[str], report: Report) -> dict[str, str]:
    """Return the patient of each case."""
    if table is None:
        subjects = {name: SUBJECT.search(name) for name in names}
        alone = sum(found is None for found in subjects.values())
        if alone:
            report(
                f"{alone} cases count as a patient each: give a table of patients if some of them "
                "were scanned twice"
            )
        return {name: name if found is None else found[1] for name, found in subjects.items()}
    manifest = read_manifest(table, repeated=True)
    rows = {name: manifest.row(name) for name in names}
    if absent := sorted(name for name, row in rows.items() if row is None):
        raise InputRefused(f"{table} must name the patient of {', '.join(absent[:5])}")
    return {name: row.patient for name, row in rows.items() if row is not None}


def _sides(
    asked: Adaptation, site: list[SiteCase], work: Path, report: Report
) -> dict[str, list[SiteCase]]:
    """Split reviewed and replayed cases, and write a cohort folder for each side."""
    mine = split_by_patient(site, asked.seed, "reviewed cases")
    replay = asked.replay or _phantoms(asked, len(site), work, report)
    theirs = split_by_patient(site_cases(replay), asked.seed, f"cases in {replay}")
    for side in (TRAINING, VALIDATION):
        gather([*mine[side], *theirs[side]], work / side)
    gather(mine[HELD_OUT], work / HELD_OUT)
    gather(theirs[HELD_OUT], work / "replay-held-out")
    for what, sides in (("reviewed", mine), ("replayed", theirs)):
        words = ", ".join(
            f"{len(cases)} {side} ({sum(one.lesions for one in cases)} lesions)"
            for side, cases in sides.items()
        )
        report(f"{what} cases: {words}")
    return mine


def _phantoms(asked: Adaptation, count: int, work: Path, report: Report) -> Path:
    """Make as many phantoms as there are reviewed cases, half of them with lesions."""
    anatomy = asked.anatomy or _anatomy()
    count = max(count, FEWEST_REPLAYED)
    report(f"making {count} phantoms to replay ({anatomy})")
    plan = CohortPlan(
        positives=count - count // 2,
        negatives=count // 2,
        seed=REPLAY_SEED + asked.seed,
        protocols="training" if anatomy == "mni" else "tiny",
        anatomy=anatomy,
        cases_per_head=1,
    )
    write_cohort(work / "replay", plan, jobs=asked.jobs)
    return work / "replay"


def _anatomy() -> AnatomyKind:
    return "mni" if find_spec("nilearn") else "procedural"


def _recipe(asked: Adaptation, start: Bundle) -> Recipe:
    """Return the recipe with all that the bundle fixes."""
    recipe = asked.recipe or parse_recipe(RECIPE, source="adapt")
    changes: dict[str, Any] = {"start_from": str(start.path), "seed": asked.seed}
    if "start_share" not in recipe.model_fields_set:
        changes["start_share"] = START_SHARE
    return with_start(recipe.model_copy(update=changes))


def _train(asked: Adaptation, recipe: Recipe, work: Path, report: Report) -> Path:
    run = work / "run"
    sources = Sources(work / TRAINING, work / VALIDATION, None, run, asked.jobs)
    training, validation = caches_of(sources, preprocessing_of(recipe), report=report)
    train(recipe, Cache(*training), Cache(*validation), run, report=report)
    return run


def _export(
    asked: Adaptation,
    start: Bundle,
    run: Path,
    sides: dict[str, list[SiteCase]],
    work: Path,
    report: Report,
) -> Bundle:
    """Make the bundle of the run, or take the one that was made before."""
    marker, folder = work / EXPORTED, work / "bundle"
    if marker.exists():
        made = load_bundle(folder)
        if marker.read_text(encoding="utf-8") == made.sha256:
            return made
    name = asked.name or f"{start.manifest.name}-adapted"
    kind: DataKind = "mixed" if asked.data_kind == "patients" else asked.data_kind
    export = Export(
        data_kind=kind,
        licence=start.manifest.licence,
        name=name,
        plan=_files(asked, start),
        cohort_name=f"{len(sides[VALIDATION])} reviewed cases and replayed ones",
        score_cohorts=(read_labelled(work / TRAINING),),
        gate_scans=None,
    )
    validation, cache = read_labelled(work / VALIDATION), cache_of_run(run)
    try:
        made = export_run(
            run, folder, validation=validation, cache=cache, export=export, report=report
        )
    except ParityFailed as failed:  # the bundle says so, and what passed is used
        report(str(failed))
        made = load_bundle(failed.folder)
    write_text_atomically(marker, made.sha256)
    return made


def _files(asked: Adaptation, start: Bundle) -> ExportPlan:
    """Return the LiteRT files of the old bundle, judged on phantoms."""
    shapes = {
        precision: tuple(
            (one.shape[1], one.shape[2])
            for one in start.artefacts("litert")
            if one.precision == precision
        )
        for precision in ("int8", "float32")
    }
    return replace(
        FILES,
        shapes=shapes["int8"] or shapes["float32"] or None,
        float32_shapes=shapes["float32"] or None,
        samples=Samples(anatomy=asked.anatomy or _anatomy()),
    )


def _written(bundle: Bundle, folder: Path, verdict: Judgement, work: Path) -> Bundle:
    """Write the new bundle with its figures. Its card comes first, its manifest last."""
    training = bundle.manifest.training
    details = training.details | verdict.figures
    changes = {"training": training.model_copy(update={"details": details})}
    finished = copy_bundle(bundle, work / "finished", changed_manifest(bundle, changes))
    notes = "## Before and after\n\n" + "\n".join(f"- {line}" for line in verdict.sentences)
    write_text_atomically(folder / CARD, model_card(finished, CardContent(notes=notes)))
    return copy_bundle(finished, folder)
