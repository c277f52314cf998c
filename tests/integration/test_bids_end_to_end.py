"""One BIDS folder with masks, and one spec, through every command that needs scans with truth."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cmbnet.bundle import Bundle, load_bundle
from cmbnet.cli import group
from cmbnet.errors import CmbnetError
from cmbnet.io import write_nifti
from cmbnet.training.data.labelled import read_labelled
from tests.helpers.bids_tree import add_scan, describe
from tests.helpers.tiny_scan import DOTS, tiny_scan

SPEC = Path(__file__).parents[2] / "data_specs" / "bids.yaml"


def run(*words: object) -> Result:
    return CliRunner().invoke(group, [str(word) for word in words], env={"COLUMNS": "160"})


def ok(*words: object) -> Result:
    done = run(*words)
    assert done.exit_code == 0, f"{words}: {done.output}{done.exception!r}"
    return done


def add_mask(root: Path, image: str, dots: int, *, label: str = "CMB") -> None:
    folder, name = image.rsplit("/", 1)
    mask = np.zeros(tiny_scan(()).shape, np.uint8)
    for k, j, i in DOTS[:dots]:
        mask[k : k + 2, j : j + 4, i : i + 4] = 1
    entities = name.rsplit("_", 1)[0]
    path = root / f"derivatives/readers/{folder}/{entities}_label-{label}_mask.nii.gz"
    write_nifti(tiny_scan(()).with_data(mask), path, dtype=np.uint8)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients, three of them with lesions; one has two sessions. A seventh has no mask."""
    root = describe(tmp_path_factory.mktemp("lab") / "raw")
    dots = {"01_ses-a": 3, "01_ses-b": 0, "02": 2, "03": 3, "04": 0, "05": 0, "06": 0, "07": 1}
    for seed, (label, count) in enumerate(dots.items()):
        session = f"/{label[3:]}" if "_" in label else ""
        image = f"sub-{label[:2]}{session}/anat/sub-{label}_acq-SWI_T2starw"
        add_scan(root, f"{image}.nii.gz", dots=count, seed=seed)
        if label != "07":
            add_mask(root, image, count)
    add_mask(root, "sub-02/anat/sub-02_acq-SWI_T2starw", 0, label="uncertain")
    people = "".join(f"sub-0{n}\t{'north' if n < 4 else 'south'}\n" for n in range(1, 8))
    (root / "participants.tsv").write_text("participant_id\tsite\n" + people)
    return root


@pytest.fixture(scope="module")
def cache(raw: Path) -> Path:
    done = ok("prepare", SPEC, "--root", raw, "-o", raw.parent / "cache")
    assert "7 cases prepared" in done.output
    return raw.parent / "cache"


def test_a_scan_without_a_mask_is_counted(raw: Path) -> None:
    done = ok("check-data", SPEC, "--root", raw)
    assert "1 scans have no label and are left out, such as: sub-07_acq-SWI" in done.output


@pytest.mark.parametrize("form", ["spec", "cache", "side"])
def test_every_form_names_the_same_scans(raw: Path, cache: Path, form: str) -> None:
    of_spec = read_labelled(SPEC, raw, role="validation")
    place = {"spec": SPEC, "cache": cache, "side": cache / "validation"}[form]
    root = raw if form == "spec" else None
    scans = read_labelled(place, root, role="validation")
    assert [case.image for case in scans.cases] == [case.image for case in of_spec.cases]
    assert scans.patients == of_spec.patients
    assert {case.split for case in scans.cases} == {"validation"}
    assert len(read_labelled(place, root).cases) == (len(scans.cases) if form == "side" else 7)


def test_predict_and_evaluate_take_the_spec(
    raw: Path, cache: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    out, scores = tmp_path / "out", tmp_path / "scores"
    model = ("--model", tiny_bundle.path)
    ok("predict", SPEC, "--root", raw, "-o", out, *model)
    assert len(list(out.glob("*/result.json"))) == 8  # with that without a mask
    ok("predict", cache, "--side", "validation", "-o", tmp_path / "some", *model)
    judged = ("--data-kind", "phantoms", "--resamples", "100", "--no-figures", "--jobs", "1")
    done = run("evaluate", "--truth", SPEC, "--root", raw, "--pred", out, *judged)
    assert "without a reference: sub-07_acq-SWI_T2starw" in str(done.exception)
    ok("evaluate", "--truth", SPEC, "--root", raw, "--pred", out, "-o", scores, *judged,
       "--allow-missing")  # fmt: skip
    results = json.loads((scores / "results.json").read_text())
    assert (results["cohort"]["scans"], results["cohort"]["patients"]) == (7, 6)
    assert "| Scan " in (scores / "tables.md").read_text()
    ok("evaluate", "--truth", cache, "--side", "validation", "--pred", tmp_path / "some", *judged)


def test_evaluate_pairs_bids_by_its_entities(
    raw: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """The results of `cmbnet bids`, the readers' masks, and the participants as the manifest."""
    out, scores = tmp_path / "out", tmp_path / "scores"
    ok("bids", raw, out, "participant", "--model", tiny_bundle.path)
    readers = raw / "derivatives" / "readers"
    ok("evaluate", "--truth", readers, "--ignore", readers, "--pred", out, "--allow-missing",
       "--manifest", raw / "participants.tsv", "--stratum", "site", "-o", scores,
       "--data-kind", "phantoms", "--resamples", "100", "--no-figures", "--jobs", "1")  # fmt: skip
    with (scores / "cases.csv").open(newline="") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert {name: (row["patient"], row["site"]) for name, row in rows.items()} == {
        "sub-01_ses-a_acq-SWI": ("sub-01", "north"), "sub-01_ses-b_acq-SWI": ("sub-01", "north"),
        "sub-02_acq-SWI": ("sub-02", "north"), "sub-03_acq-SWI": ("sub-03", "north"),
        "sub-04_acq-SWI": ("sub-04", "south"), "sub-05_acq-SWI": ("sub-05", "south"),
        "sub-06_acq-SWI": ("sub-06", "south"),
    }  # fmt: skip
    assert rows["sub-01_ses-a_acq-SWI"]["found"] == "3"


def test_calibrate_takes_the_spec_and_the_cache(
    raw: Path, cache: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    words = ("--data-kind", "phantoms", "--backend", "litert:float32", "--name", "lab")
    ok("calibrate", tiny_bundle.path, "--data", cache, "-o", tmp_path / "a", *words)
    ok("calibrate", tiny_bundle.path, "--data", SPEC, "--root", raw, "-o", tmp_path / "b", *words)
    chosen = [load_bundle(tmp_path / name).manifest.training.chosen_on for name in "ab"]
    assert chosen[0] == chosen[1]
    assert chosen[0] is not None
    assert len(chosen[0].scans) == len(read_labelled(cache, role="validation").cases)


def test_folds_are_one_spec(raw: Path, tmp_path: Path) -> None:
    lines = SPEC.read_text().splitlines()
    folds = [
        "splits: {by: folds, folds: 3}" if line.startswith("splits:") else line for line in lines
    ]
    spec = tmp_path / "lab.yaml"
    spec.write_text("\n".join(folds))
    held_out: list[str] = []
    for fold in (1, 2, 3):
        out = tmp_path / str(fold)
        ok("prepare", spec, "--root", raw, "-o", out, "--fold", fold)
        held_out += sorted({one.patient for one in read_labelled(out / "validation").cases})
    assert sorted(held_out) == ["01", "02", "03", "04", "05", "06"]
    wrong = run("prepare", spec, "--root", raw, "-o", tmp_path / "4", "--fold", 4)
    assert isinstance(wrong.exception, CmbnetError)
    assert "with 4 folds or more are required" in str(wrong.exception)
