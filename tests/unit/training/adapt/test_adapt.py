"""A network that finds nothing learns from a reader, from the review to the new bundle."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet.backends import open_backend
from cmbnet.bundle import Bundle, load_bundle
from cmbnet.cli.adapt import command
from cmbnet.errors import InputRefused, UsageError
from cmbnet.review import Review
from cmbnet.review.outputs import write_tables
from cmbnet.training.adapt import adapt as module
from cmbnet.training.adapt.adapt import Adaptation, adapt
from cmbnet.training.adapt.judge import Judgement
from cmbnet.training.data.labelled import read_labelled
from cmbnet.training.fit.recipe import load_recipe, parse_recipe
from tests.helpers.review_results import write_results
from tests.helpers.simulated_reader import review_by_truth
from tests.helpers.tiny_scan import DOTS, SHAPE
from tests.helpers.tiny_start import CONFIG, RECIPE, write_start

ILL = 6
"""Of ten reviewed cases."""


def truth(name: str) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint16)
    for number, (z, y, x) in enumerate(DOTS, start=1):
        labels[z : z + 2, y : y + 4, x : x + 4] = number * (int(name.split("-")[1]) < ILL)
    return labels


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of a network that has learned nothing."""
    return write_start(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def results(start: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve cases, of which a reader has finished ten."""
    backend = open_backend(start, "litert:float32", threads=1)
    made = write_results(
        tmp_path_factory.mktemp("study"), start, backend,
        [DOTS if number < ILL else () for number in range(12)],
    )  # fmt: skip
    backend.close()
    review_by_truth(made, made / "reviews" / "Ann", truth)
    folder = made / "reviews" / "Ann"
    review = Review.model_validate_json((folder / "verdicts.json").read_bytes())
    kept = [one for one in review.cases if one.case not in ("scan-10", "scan-11")]
    write_tables(folder, "Ann", kept)
    return made


class Adapted(NamedTuple):
    """What an adaptation left, that was stopped before the export and called again."""

    asked: Adaptation
    folder: Path
    work: Path
    before: list[str]
    after: list[str]


@pytest.fixture(scope="module")
def adapted(start: Bundle, results: Path, tmp_path_factory: pytest.TempPathFactory) -> Adapted:
    root = tmp_path_factory.mktemp("adapted")
    asked = Adaptation(
        start=str(start.path),
        reviewed=(results,),
        data_kind="patients",
        anatomy="procedural",
        recipe=parse_recipe(RECIPE, source="test"),
        backend="litert",
    )
    before: list[str] = []
    after: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "export_run", _killed)
        with pytest.raises(RuntimeError):
            adapt(asked, root / "new", root / "work", report=before.append)
    adapt(asked, root / "new", root / "work", anyway=True, report=after.append)
    return Adapted(asked, root / "new", root / "work", before, after)


def _killed(*_: object, **__: object) -> None:
    raise RuntimeError


def test_what_is_done_is_not_done_again(adapted: Adapted) -> None:
    assert any(line.startswith("epoch 2 of 2") for line in adapted.before)
    assert any("making 10 phantoms" in line for line in adapted.before)
    assert not any(line.startswith("epoch") for line in adapted.after)
    assert any("parity passed" in line for line in adapted.after)


def test_all_that_the_start_fixes_is_kept(adapted: Adapted, start: Bundle) -> None:
    new = load_bundle(adapted.folder)
    new.verify()
    assert new.manifest.name == "start-adapted"
    assert new.recipe == start.recipe
    assert new.context == start.context
    assert new.manifest.licence == start.manifest.licence
    assert new.manifest.versions["started_from_sha256"] == start.sha256
    assert load_recipe(adapted.work / "run" / "recipe.yaml").model.config() == CONFIG
    assert {a.shape for a in new.artefacts("litert")} == {(1, 96, 96, 3)}


def test_the_new_bundle_says_what_it_has_seen(adapted: Adapted) -> None:
    training = load_bundle(adapted.folder).manifest.training
    assert training.real_patient_data
    assert "Trained further on scans of several kinds." in training.statement
    assert any(line.startswith("trained further, training:") for line in training.data)
    assert training.chosen_on is not None
    card = (adapted.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## Before and after" in card
    assert "95 % interval by patient" in card


def test_patients_are_on_one_side(adapted: Adapted) -> None:
    sides = [{one.patient for one in read_labelled(adapted.work / side).cases}
             for side in ("training", "validation", "held-out", "replay-held-out")]  # fmt: skip
    assert sum(map(len, sides)) == len(set.union(*sides)) == 20
    line = next(line for line in adapted.before if line.startswith("reviewed cases"))
    assert line == (
        "reviewed cases: 4 training (6 lesions), 3 validation (6 lesions), 3 held-out (6 lesions)"
    )


def test_it_learned_and_says_so(adapted: Adapted) -> None:
    details = load_bundle(adapted.folder).manifest.training.details
    assert details["lesion_f1_held_out_before"] == 0.0
    assert float(details["lesion_f1_held_out_after"]) > 0.5
    told = "\n".join(adapted.after)
    assert re.search(r"On 3 held-out reviewed scans of 3 patients with 6 lesions: F1 0\.000 before",
                     told)  # fmt: skip
    assert "3 patients are few: read the interval." in told
    assert "10 cases count as a patient each" in "\n".join(adapted.before)
    assert "score: that of the start is kept, 30 microbleeds and" in told


def test_what_to_review_next_is_named(adapted: Adapted) -> None:
    assert "2 cases are not reviewed yet" in adapted.after
    for words in ("most uncertain", "most unlike the reviewed ones"):
        line = next(line for line in adapted.after if line.startswith(f"review next, {words}"))
        assert {"scan-10", "scan-11"} == set(line.split(": ")[1].split(", "))


def test_a_worse_model_is_not_written_without_a_word(
    adapted: Adapted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = Judgement(("a sentence",), {"f1": 0.1}, "lesion F1 on replayed scans fell")
    monkeypatch.setattr(module, "judge", lambda *_, **__: verdict)
    with pytest.raises(InputRefused, match="the new model is worse: lesion F1 on replayed") as told:
        adapt(adapted.asked, tmp_path / "new", adapted.work, report=print)
    assert told.value.argument == "anyway"
    assert not (tmp_path / "new").exists()
    written = adapt(adapted.asked, tmp_path / "new", adapted.work, anyway=True, report=print)
    assert written.manifest.training.details["f1"] == 0.1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda asked: replace(asked, seed=1), "holds an adaptation of other cases or settings"),
        (lambda asked: replace(asked, how="staple"), "of other cases or settings"),
    ],
)
def test_other_settings_need_another_folder(
    adapted: Adapted, tmp_path: Path, change: Callable[[Adaptation], Adaptation], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        adapt(change(adapted.asked), tmp_path / "new", adapted.work, report=print)
    with pytest.raises(UsageError, match="holds a bundle already"):
        adapt(adapted.asked, adapted.folder, adapted.work, report=print)


def test_a_table_of_patients_names_all(start: Bundle, results: Path, tmp_path: Path) -> None:
    rows = "".join(f"scan-{n},p{n}\n" for n in range(10) if n != 3)
    (tmp_path / "patients.csv").write_text("case,patient\n" + rows)
    arguments = [
        str(start.path), "--reviewed", str(results), "--patients", str(tmp_path / "patients.csv"),
        "--data-kind", "phantoms", "-o", str(tmp_path / "new"),
    ]  # fmt: skip
    done = CliRunner().invoke(command, arguments)
    assert isinstance(done.exception, InputRefused)
    assert "must name the patient of scan-3" in str(done.exception)


def test_fewer_than_eight_cases_are_refused(start: Bundle, results: Path, tmp_path: Path) -> None:
    few = shutil.copytree(results.parent, tmp_path / "few") / "results"
    ann = few / "reviews" / "Ann"
    review = Review.model_validate_json((ann / "verdicts.json").read_bytes())
    write_tables(ann, "Ann", review.cases[:7])
    asked = Adaptation(start=str(start.path), reviewed=(few,), data_kind="phantoms")
    with pytest.raises(InputRefused, match="8 reviewed cases are required, got 7"):
        adapt(asked, tmp_path / "new", tmp_path / "work", report=print)
