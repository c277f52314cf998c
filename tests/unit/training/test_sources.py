"""What is judged by is not learned from."""

import shutil
from pathlib import Path

import pytest

from cmbnet.errors import UsageError
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.data.cache import prepare_cache
from cmbnet.training.data.cohort import FOLDER
from cmbnet.training.data.sources import Sources, caches_of

RECIPE = PreprocessRecipe(size=112)
LESIONS = {"case-a": 4, "case-b": 2, "control": 0}


def beside(cohort: Path, folder: Path, heads: dict[str, int]) -> Path:
    """The cohort again, with a table that says whose scans they are."""
    shutil.copytree(cohort, folder)
    rows = [f"{case},{head},{LESIONS[case]}" for case, head in heads.items()]
    (folder / "cases.csv").write_text("\n".join(["case,anatomy_seed,n_lesions", *rows]) + "\n")
    return folder


def sides(data: Path, validation: Path, run: Path) -> None:
    caches_of(Sources(data, validation, None, run), RECIPE, report=lambda _: None)


def test_a_patient_on_both_sides_is_refused(cohort: Path, tmp_path: Path) -> None:
    first = beside(cohort, tmp_path / "a", {"case-a": 1, "case-b": 2, "control": 3})
    again = beside(cohort, tmp_path / "b", {"case-a": 7, "case-b": 3, "control": 1})
    with pytest.raises(UsageError, match=r"share 2 patients \(1, 3\).*another seed"):
        sides(first, again, tmp_path / "run")
    other = beside(cohort, tmp_path / "c", {"case-a": 7, "case-b": 8, "control": 9})
    sides(first, other, tmp_path / "other")


def test_another_data_set_may_number_its_patients_alike(cohort: Path, tmp_path: Path) -> None:
    """As two hospitals that keep to BIDS do; in the same data set they are the same patients."""
    for name, lab in (("a", "here"), ("b", "there"), ("c", "here")):
        spec = FOLDER.model_copy(update={"name": lab, "patient": "{case}", "lesions": None})
        prepare_cache(spec, cohort, tmp_path / name, recipe=RECIPE)
    sides(tmp_path / "a", tmp_path / "b", tmp_path / "run")
    with pytest.raises(UsageError, match=r"share 3 patients \(case-a of here"):
        sides(tmp_path / "a", tmp_path / "c", tmp_path / "run")


def test_names_of_files_say_nothing_of_patients(cohort: Path, tmp_path: Path) -> None:
    """Two cohorts may number their cases alike."""
    shutil.copytree(cohort, tmp_path / "b")
    sides(cohort, tmp_path / "b", tmp_path / "run")
