"""Review folders as a reader study: what each reader said, with and without the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.cli.readers import command
from cmbnet.errors import InputRefused, UnreadableFile, UsageError
from cmbnet.io import read_nifti, write_nifti
from cmbnet.review import ReviewLog, Session, open_cohort
from cmbnet.review.session import Wish
from cmbnet.review.study import read_reviews
from cmbnet.review.verdicts import Arm
from tests.helpers.review_results import MISSED, write_results


def review(
    results: Path,
    folder: Path,
    accepted: dict[str, list[str]],
    missed: bool,
    *,
    blind: bool = False,
    plan: dict[str, Arm] | None = None,
) -> None:
    """Let a simulated reader judge both scans. `missed` adds the faint dot, alone and after."""
    with ReviewLog(folder) as log:
        session = Session(open_cohort(results), log, folder.name, blind=blind, plan=plan)
        for number, case in enumerate(session.cases):
            state = session.show(number)

            def do(what: str, number: int = number, **values: Any) -> dict[str, Any]:
                wish = Wish(do=what, revision=session.show(number)["revision"], **values)  # type: ignore[arg-type]
                return session.act(number, wish)

            if missed:
                _, rows, columns = state["shape"]
                z, y, x = MISSED
                do("add", at=(z, rows - 2 - y, columns - 2 - x))
            state = do("finish") if state["hidden"] else state
            if not state["finished"]:
                for mark in state["marks"]:
                    if mark["added"]:
                        continue
                    judged = mark["id"] in accepted[case.name]
                    kind = None if judged else "vein"
                    do(
                        "judge",
                        mark=mark["id"],
                        judgement="accept" if judged else "reject",
                        kind=kind,
                    )
                do("finish")


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Bundle, tiny_backend: Backend
) -> Path:
    """Ann reads alone first and finds what the model missed; Ben takes what the model says."""
    folder = write_results(tmp_path_factory.mktemp("study"), tiny_bundle, tiny_backend)
    reviews = folder / "reviews"
    review(folder, reviews / "Ann", {"scan-0": ["1", "2"], "scan-1": []}, missed=True, blind=True)
    review(folder, reviews / "Ben", {"scan-0": ["1", "2", "3"], "scan-1": []}, missed=False)
    return folder


def test_readers_are_read_from_their_folders(results: Path) -> None:
    study = read_reviews(results / "reviews")
    assert study.readers == ["Ann", "Ben"]
    first, second = study.cases  # scan-0 has three lesions of the model, and the faint dot
    assert first.system.tolist() == [True, True, True, False]
    assert first.readers.T.tolist() == [[True, True, False, True], [True, True, True, False]]
    assert second.readers.tolist() == [[True, False]]
    assert study.without == []  # Ben has not read alone
    assert study.compared() is None
    assert study.system_s > 0


def test_a_planned_study_with_both_arms(results: Path, tmp_path: Path) -> None:
    plans: dict[int, dict[str, Arm]] = {
        1: {"scan-0": "without", "scan-1": "with"},
        2: {"scan-0": "with", "scan-1": "without"},
    }
    for reader, missed in (("Ann", True), ("Ben", False)):
        for session, plan in plans.items():
            accepted = {"scan-0": ["1", "2", "3"], "scan-1": []}
            review(results, tmp_path / f"session-{session}" / reader, accepted, missed, plan=plan)
    truth = tmp_path / "truth"
    for name in ("scan-0", "scan-1"):
        mask = read_nifti(results / name / "mask.nii.gz")
        z, y, x = MISSED
        mask.data[z : z + 2, y : y + 4, x : x + 4] = 1
        write_nifti(mask, truth / f"{name}.nii.gz", dtype=np.uint8)
    output = CliRunner().invoke(
        command,
        ["--reviews", str(tmp_path), "--system", str(results), "--truth", str(truth),
         "-o", str(tmp_path / "out"), "--data-kind", "phantoms", "--resamples", "100"],
        catch_exceptions=False,
    )  # fmt: skip
    assert "Ann with the system" in output.output
    arms = json.loads((tmp_path / "out" / "readers.json").read_text())["arms"]
    by_arm = {(one["reader"], one["arm"]): one for one in arms["results"]}
    # Three of five true lesions are the model's, two are the faint dots.
    assert by_arm["system", "system"]["sensitivity"] == pytest.approx(3 / 5)
    assert by_arm["Ann", "without"]["sensitivity"] == pytest.approx(2 / 5)
    assert by_arm["Ann", "with"]["sensitivity"] == 1
    assert by_arm["Ben", "without"]["sensitivity"] == 0
    assert by_arm["Ben", "with"]["sensitivity"] == pytest.approx(3 / 5)
    assert (tmp_path / "out" / "figures" / "arms.svg").exists()


def test_studies_that_do_not_fit(results: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"a verdicts\.json of `cmbnet review` is required"):
        read_reviews(tmp_path)
    copied = shutil.copytree(results, tmp_path / "copied")
    file = copied / "reviews" / "Ben" / "verdicts.json"
    verdicts = json.loads(file.read_text())
    changed = json.loads(file.read_text())
    changed["cases"][0]["bundle_sha256"] = "0" * 64
    file.write_text(json.dumps(changed))
    with pytest.raises(InputRefused, match="have judged another result than this one"):
        read_reviews(copied / "reviews")
    verdicts["cases"] = []
    file.write_text(json.dumps(verdicts))
    assert read_reviews(copied / "reviews").readers == ["Ann"]  # Ben has not begun
    file.write_text("{}")
    with pytest.raises(UnreadableFile, match="verdicts of this version of cmbnet are required"):
        read_reviews(copied / "reviews")
    with pytest.raises(UsageError, match="--reviews replaces --readers"):
        CliRunner().invoke(
            command, ["--reviews", str(results), "--readers", str(results)], catch_exceptions=False
        )
