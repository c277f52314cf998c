"""``cmbnet check-data``, ``cmbnet prepare``, and training from what they make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cmbnet.cli import check_data, prepare, train
from cmbnet.errors import CmbnetError, InputRefused, UsageError
from cmbnet.io import read_nifti, write_nifti
from cmbnet.training.data.cache_index import read_index
from cmbnet.training.data.reader import Cache

ROOT = Path(__file__).parents[3]
SPECS = ROOT / "data_specs"
SMOKE = ROOT / "training" / "recipes" / "smoke.yaml"

SEED = 2
"""Of the split: puts case-a and the control on one side, case-b on the other."""


def run(command: object, *args: object) -> Result:
    runner = CliRunner()
    return runner.invoke(
        getattr(command, "command"),  # noqa: B009
        [str(arg) for arg in args],
        catch_exceptions=True,
        env={"COLUMNS": "160"},
    )


def refusal(result: Result) -> str:
    """What a command that refuses says; its exit code is that of the error."""
    assert isinstance(result.exception, CmbnetError), result.output
    assert result.exception.exit_code in (2, 3)
    return str(result.exception)


@pytest.fixture
def root(cohort: Path, tmp_path: Path) -> Path:
    """A copy of the small cohort that a test may spoil."""
    shutil.copytree(cohort, tmp_path / "c")
    return tmp_path / "c"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """The phantom spec with sides drawn by patient: case-a and the control against case-b."""
    text = (SPECS / "phantom.yaml").read_text(encoding="utf-8")
    shares = f"{{by: patient, shares: {{training: 0.5, validation: 0.5}}, seed: {SEED}}}"
    text = text.replace("{by: none, name: all}", shares)
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "spec.yaml"


def test_a_good_data_set(root: Path, spec: Path, tmp_path: Path) -> None:
    result = run(check_data, spec, "--root", root, "--cases", "--json", tmp_path / "r.json")
    assert result.exception is None, result.output
    assert "no case of" in result.output  # a side without controls is noted
    assert "Research use only" in result.output
    assert "0.60" in result.output
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["wrong"] == 0
    assert [case["small"] for case in content["cases"]] == [4, 2, 0]


@pytest.mark.parametrize("terminal", ["0", "1"])
def test_the_name_of_a_case_is_never_cut(root: Path, spec: Path, terminal: str) -> None:
    name = "sub-0123456789_ses-baseline_acq-highresolution_run-01_swi"
    for folder in ("images", "lesions", "ignore", "mimics"):
        for file in (root / folder).glob("control.nii.gz"):
            file.rename(file.with_name(f"{name}.nii.gz"))
    result = CliRunner().invoke(
        check_data.command, [str(spec), "--root", str(root), "--cases"],
        env={"COLUMNS": "80", "TTY_COMPATIBLE": terminal},
    )  # fmt: skip
    assert "\u2026" not in result.output
    rows = result.output.split("faults")[1].splitlines()
    first_column = "".join(row[1:].split(" ")[1] if row.strip() else " " for row in rows)
    assert name in (result.output if terminal == "0" else first_column)


def test_what_makes_training_wrong_ends_with_3_and_prepares_nothing(
    root: Path, spec: Path, tmp_path: Path
) -> None:
    labels = read_nifti(root / "lesions" / "control.nii.gz")
    data = np.zeros(labels.shape, np.uint8)
    data[3, 2:7, 2:7] = 1  # in the corner, outside the head
    write_nifti(labels.with_data(data), root / "lesions" / "control.nii.gz", dtype=np.uint8)
    result = run(check_data, spec, "--root", root)
    assert "1 fault would make training wrong" in refusal(result)
    assert "wrong: control: lesion 1 at (z, y, x) (3.0, 4.0, 4.0) lies outside" in result.output
    said = refusal(run(prepare, spec, "--root", root, "-o", tmp_path / "cache"))
    assert "control: lesion 1 at" in said
    assert not (tmp_path / "cache" / "cache.json").exists()
    left = run(prepare, spec, "--root", root, "-o", tmp_path / "cache", "--leave-out")
    assert "left out control: lesion 1" in left.output
    assert [one.case for one in read_index(tmp_path / "cache").left_out] == ["control"]


def test_a_missing_label_and_another_grid_are_found_together(root: Path, spec: Path) -> None:
    (root / "lesions" / "control.nii.gz").unlink()
    labels = read_nifti(root / "lesions" / "case-a.nii.gz")
    other = type(labels)(labels.data[:, :50], labels.affine)
    write_nifti(other, root / "lesions" / "case-a.nii.gz", dtype=np.uint8)
    result = run(check_data, spec, "--root", root)
    assert "faults would make training wrong" in refusal(result)
    assert "control.nii.gz has no label lesions/control.nii.gz" in result.output
    assert "must lie on the grid of its image: shape" in result.output


def test_prepared_sides_feed_training(root: Path, spec: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    made = run(prepare, spec, "--root", root, "-o", cache, "--recipe", SMOKE)
    assert made.exception is None, made.output
    assert "3 cases prepared, 0 left out" in made.output
    again = run(prepare, spec, "--root", root, "-o", cache, "--recipe", SMOKE)
    assert "3 cases prepared, 3 of them were there already" in again.output
    sides = read_index(cache).splits
    assert set(sides) == {"training", "validation"}
    assert {case.name for case in Cache(cache, "training").cases} == {
        one.case for one in sides["training"]
    }
    result = run(train, SMOKE, "--data", cache, "-o", tmp_path / "run", "--prepare-only")
    assert result.exception is None, result.output
    assert not (tmp_path / "run").exists()  # nothing had to be made


def test_training_takes_a_spec_and_its_root(root: Path, spec: Path, tmp_path: Path) -> None:
    arguments = (SMOKE, "--data", spec, "-o", tmp_path / "run", "--prepare-only")
    assert "is a data spec: say where its scans lie" in refusal(run(train, *arguments))
    result = run(train, *arguments, "--root", root)
    assert "cache: 3 cases prepared, 0 left out" in result.output
    assert set(read_index(tmp_path / "run" / "cache").splits) == {"training", "validation"}


def test_a_cache_without_validation_side_needs_validation(cache_path: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(SMOKE.read_text())
    result = run(train, recipe, "--data", cache_path, "-o", tmp_path / "run")
    assert "was prepared with" in refusal(result)  # frames of 112 pixels


def test_one_of_several_sides_must_be_named(root: Path, spec: Path, tmp_path: Path) -> None:
    run(prepare, spec, "--root", root, "-o", tmp_path / "cache")
    with pytest.raises(UsageError, match="one of training, validation is required of the cache"):
        Cache(tmp_path / "cache")
    with pytest.raises(UsageError, match="got test"):
        Cache(tmp_path / "cache", "test")
    side = Cache(tmp_path / "cache" / "validation")
    assert len(side.cases) == len(read_index(tmp_path / "cache").splits["validation"])


def test_the_numbers_of_the_paper_are_printed() -> None:
    result = run(check_data, SPECS / "tiantan_cnsr3.yaml")
    assert result.exception is None
    for number in ("1,285", "330", "7,461", "927", "1,926", "211", "10,525", "72", "90"):
        assert number in result.output


def test_a_spec_of_scans_needs_a_root() -> None:
    assert "say with --root" in refusal(run(check_data, SPECS / "phantom.yaml"))


def test_a_cohort_of_controls_only_cannot_be_prepared(
    root: Path, spec: Path, tmp_path: Path
) -> None:
    for name in ("case-a", "case-b"):
        for kind in ("images", "lesions", "ignore", "mimics"):
            (root / kind / f"{name}.nii.gz").unlink()
    result = run(prepare, spec, "--root", root, "-o", tmp_path / "cache")
    assert isinstance(result.exception, InputRefused)
    assert "holds a lesion of 2-10 mm" in str(result.exception)
