from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmbnet.backends import open_backend
from cmbnet.bundle import Bundle, load_bundle
from cmbnet.deploy.gate import ParityFailed
from cmbnet.deploy.judge import Judge
from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.io import read_nifti, write_nifti
from cmbnet.phantom import make_case
from cmbnet.predict import predict_volume
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.choose import bundle_writer
from cmbnet.training.choose.bundle_writer import FILES, Export, export_run
from cmbnet.training.choose.candidates import find_candidates
from cmbnet.training.choose.operating_points import choose_operating_points
from cmbnet.training.choose.samples import cached_slices, gate_cases, whole_stacks
from cmbnet.training.data.cache import build_cache
from cmbnet.training.data.cache_index import part_path, read_index, write_index
from cmbnet.training.data.labelled import Labelled, read_labelled
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.loop import train
from cmbnet.training.fit.recipe import parse_recipe

RECIPE = parse_recipe(
    {
        "name": "test",
        "model": {"channels": [4, 4, 4, 4], "lesion_prior": 0.05},
        "sampling": {"crop_px": 48, "batch_size": 4, "shift_px": 10, "context_mm": 4.0},
        "stop": {"epochs": 1, "steps_per_epoch": 2},
        "validation": {"slices": 2},
    },
    source="test",
)
PREPROCESS = PreprocessRecipe(size=192)
EXPORT = Export(
    data_kind="phantoms",
    licence="CC0-1.0",
    name="tiny",
    plan=replace(FILES, shapes=((192, 192), (96, 96)), float32_shapes=((192, 192),)),
    cohort_name="two procedural phantoms",
    gate_scans=1,
)


Exported = tuple[Path, list[str]]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A procedural phantom with lesions and one without."""
    directory = tmp_path_factory.mktemp("phantoms")
    for seed, positive in ((2, True), (3, False)):
        case = make_case(
            seed, positive=positive, anatomy="procedural", lesion_count=4 if positive else None
        )
        for kind, volume, dtype in (
            ("images", case.image, np.float32),
            ("lesions", case.lesions, np.uint16),
            ("mimics", case.mimics, np.uint16),
            ("ignore", case.ignore, np.uint8),
        ):
            (directory / kind).mkdir(exist_ok=True)
            write_nifti(volume, directory / kind / f"p{seed}.nii.gz", dtype=dtype)
    return directory


@pytest.fixture(scope="module")
def run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two steps."""
    directory = tmp_path_factory.mktemp("run")
    build_cache(phantoms, directory / "train.h5", recipe=PREPROCESS)
    cache = Cache(directory / "train.h5")
    train(RECIPE, cache, cache, directory)
    return directory


@pytest.fixture(scope="module")
def exported(run: Path, phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The run's bundle, and what was reported."""
    folder = tmp_path_factory.mktemp("bundle") / "b"
    lines: list[str] = []
    export_run(
        run,
        folder,
        validation=read_labelled(phantoms),
        cache=run / "train.h5",
        export=EXPORT,
        report=lines.append,
    )
    return folder, lines


def test_the_files_of_a_bundle(exported: Exported) -> None:
    folder, lines = exported
    assert any(line.startswith("int8-1x192x192.tflite on litert: parity passed") for line in lines)
    bundle = load_bundle(folder)
    bundle.verify()
    assert [(a.kind, a.precision, a.shape) for a in bundle.manifest.artefacts] == [
        ("keras", "float32", (1, 192, 192, 3)),
        ("litert", "int8", (1, 192, 192, 3)),
        ("litert", "int8", (1, 96, 96, 3)),
        ("litert", "float32", (1, 192, 192, 3)),
    ]
    for artefact in bundle.artefacts("litert"):
        assert artefact.parity["passed"] is True
        assert float(artefact.parity["max_difference"]) < 0.2
    assert not any("phantoms to calibrate" in line for line in lines), "int8 is of the cache"


def test_the_manifest_of_a_bundle(exported: Exported) -> None:
    manifest = load_bundle(exported[0]).manifest
    assert manifest.recipe == PREPROCESS
    assert load_bundle(exported[0]).context.target_mm == 4.0
    assert [p.name for p in manifest.operating_points] == ["balanced", "sensitive", "screening"]
    measured = manifest.operating_points[0].measured
    assert measured is not None
    assert measured.cohort == "two procedural phantoms"
    assert (measured.n_positive, measured.n_negative) == (1, 1)
    assert "phantoms only" in manifest.training.statement
    assert not manifest.training.real_patient_data
    assert manifest.licence == "CC0-1.0"
    assert manifest.training.chosen_on is not None
    assert len(manifest.training.chosen_on.scans) == 2
    assert manifest.training.data[0].startswith("training: 2 cases (1 without lesions), 4 lesions")
    assert manifest.training.details["recipe"] == "test"


def test_the_bundle_predicts(exported: Exported, phantoms: Path) -> None:
    bundle = load_bundle(exported[0])
    scan = read_nifti(phantoms / "images" / "p2.nii.gz")
    answers = []
    for name in ("litert:int8", "litert:float32"):
        backend = open_backend(bundle, name)
        answers.append(predict_volume(scan, bundle, backend).probability.data)
        backend.close()
    assert answers[0].max() > 0
    np.testing.assert_allclose(answers[0], answers[1], atol=0.2)


def test_a_file_that_fails_the_gate_fails_the_export(
    run: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "verdict", lambda _, a: {"passed": a.precision != "int8"})
    few = replace(FILES, shapes=((192, 192),), float32_shapes=((192, 192),), calibrations=2)
    lines: list[str] = []

    def export(folder: Path, *, allow_failure: bool) -> Bundle:
        return export_run(
            run, folder, validation=read_labelled(phantoms), cache=run / "train.h5",
            report=lines.append, export=replace(EXPORT, plan=few, allow_failure=allow_failure),
        )  # fmt: skip

    with pytest.raises(ParityFailed, match=r"for int8-1x192x192\.tflite; .* float32-1x192x192\."):
        export(tmp_path / "b", allow_failure=False)
    assert lines.count("int8-1x192x192.tflite: made again, calibrated on other slices") == 1
    bundle = load_bundle(tmp_path / "b")
    marked = {a.precision: a.parity["passed"] for a in bundle.artefacts("litert")}
    assert marked == {"int8": False, "float32": True}
    backend = open_backend(bundle)
    assert backend.info.precision == "float32", "what passed is usable and chosen"
    backend.close()
    done = export(tmp_path / "c", allow_failure=True)
    (int8,) = (a for a in done.artefacts("litert") if a.precision == "int8")
    assert (int8.parity["passed"], int8.parity["failure_allowed"]) == (False, True)


def test_the_score_is_learned_from_other_scans_where_there_are_some(
    exported: Exported, phantoms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Path, ...]] = []
    scans = read_labelled(phantoms)
    given: dict[str, Any] = {}

    def candidates(cohorts: Sequence[Labelled], *args: Any, **options: Any) -> Any:
        made.append(tuple(cohort.path for cohort in cohorts))
        return find_candidates(cohorts, *args, **options)

    def choose(candidates: Any, **options: Any) -> Any:
        given.update(options)
        return choose_operating_points(candidates, **options)

    monkeypatch.setattr(bundle_writer, "find_candidates", candidates)
    monkeypatch.setattr(bundle_writer, "choose_operating_points", choose)
    export = replace(EXPORT, score_cohorts=(scans, scans))
    with pytest.raises(
        InputRefused, match="give more scans to learn from"
    ):  # two phantoms teach nothing
        bundle_writer._operating_points(load_bundle(exported[0]), scans, export, print)
    assert made == [(phantoms,), (phantoms, phantoms)]
    assert {len(scans) for scans in given["score_candidates"].values()} == {4}


def test_thresholds_are_not_chosen_on_what_the_score_was_learned_from(
    run: Path, phantoms: Path, tmp_path: Path
) -> None:
    scans = read_labelled(phantoms)
    export = replace(EXPORT, score_cohorts=(read_labelled(phantoms / "images" / ".."),))
    with pytest.raises(UsageError, match="has not seen"):
        export_run(
            run, tmp_path, validation=scans, cache=run / "train.h5", export=export, report=print
        )
    heads = "case,anatomy_seed,n_lesions\np2,{},4\np3,{},0\n"
    for folder, text in (("bank", heads.format(2, 3)), ("others", heads.format(4, 2))):
        shutil.copytree(phantoms, tmp_path / folder)
        (tmp_path / folder / "cases.csv").write_text(text)
    bank, cache = read_labelled(tmp_path / "bank"), run / "train.h5"
    export = replace(EXPORT, score_cohorts=(bank,))
    others = read_labelled(tmp_path / "others")
    with pytest.raises(UsageError, match=r"bank and .*others share 1 patients \(2\)"):
        export_run(run, tmp_path, validation=others, cache=cache, export=export, report=print)
    learned = tmp_path / "learned"
    build_cache(tmp_path / "bank", learned, recipe=PREPROCESS)
    with pytest.raises(UsageError, match=r"run\d* and .*others share 1 patients \(2\)"):
        export_run(run, tmp_path, validation=others, cache=learned, export=EXPORT, report=print)
    spec = bundle_writer._spec(run, RECIPE, export, others)
    assert spec.training.data[-1] == "lesion score: learned from the scans of bank"


def test_an_unfinished_run_is_refused(run: Path, phantoms: Path, tmp_path: Path) -> None:
    for name in ("recipe.yaml", "best.keras", "log.csv"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    with pytest.raises(UnreadableFile, match="a finished run is required"):
        bundle_writer._description(tmp_path)


def test_whole_stacks_are_whole_slices_with_and_without_lesions(run: Path) -> None:
    stacks = whole_stacks(Cache(run / "train.h5"), RECIPE, 6)
    assert stacks.shape[1:] == (192, 192, 3)
    assert stacks.dtype == np.float32
    assert 0.3 < stacks.max() <= 1.0
    assert (stacks[0] != 0).mean() > 0.1


def test_int8_is_calibrated_on_the_training_side_of_a_cache(run: Path, tmp_path: Path) -> None:
    """A cache has its sides within it. `--cache cache` means the side of training."""
    index = read_index(run / "train.h5")
    first, second = index.splits["all"]
    sides = {"training": (first,), "validation": (second,)}
    for side, (case,) in sides.items():
        (tmp_path / side).mkdir()
        shutil.copy(part_path(run / "train.h5", "all", case.case), tmp_path / side)
    write_index(tmp_path, index.model_copy(update={"splits": sides}))
    slices = cached_slices(tmp_path, RECIPE)((96, 96), 0)
    expected = cached_slices(tmp_path / "training", RECIPE)((96, 96), 0)
    np.testing.assert_array_equal(slices, expected)


def test_gate_scans_hold_lesions(phantoms: Path) -> None:
    cases = gate_cases(read_labelled(phantoms), 5)
    assert [case.name for case in cases] == ["p2"]
    assert (cases[0].lesions > 0).any()
    assert cases[0].small <= set(np.unique(cases[0].lesions).tolist())


def test_the_default_files() -> None:
    assert FILES.shapes == ((384, 384), (352, 288), (320, 256), (240, 240), (192, 192))
    assert (FILES.precisions, FILES.float32_shapes) == (("int8", "float32"), ((384, 384),))
