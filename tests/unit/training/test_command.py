from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cmbnet.cli.export import command as export_command
from cmbnet.cli.train import command
from cmbnet.errors import UnreadableFile, UsageError
from cmbnet.training.data.reader import Cache

SMOKE = Path(__file__).parents[3] / "training" / "recipes" / "smoke.yaml"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Two steps."""
    text = SMOKE.read_text().replace("epochs: 3", "epochs: 1").replace(": 30", ": 2")
    text = text.replace("crop_px: 64", "crop_px: 32")
    (tmp_path / "r.yaml").write_text(text)
    return tmp_path / "r.yaml"


def run(*args: object) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args], catch_exceptions=False)


def test_a_cohort_is_prepared_once(cohort: Path, tmp_path: Path) -> None:
    arguments = (
        SMOKE, "--data", cohort, "--validation", cohort, "-o", tmp_path, "--prepare-only"
    )  # fmt: skip
    first = run(*arguments)
    assert first.exit_code == 0
    assert f"{tmp_path / 'training'}: 3 cases prepared, 0 left out" in first.output
    assert len(Cache(tmp_path / "training").cases) == 3
    assert "prepared" not in run(*arguments).output


def test_a_cache_is_taken_as_it_is(recipe: Path, cohort: Path, tmp_path: Path) -> None:
    run(recipe, "--data", cohort, "--validation", cohort, "-o", tmp_path / "a", "--prepare-only")
    cache = tmp_path / "a" / "training"
    caches = ("--data", cache, "--validation", cache)
    assert run(recipe, *caches, "-o", tmp_path / "b", "--prepare-only").exit_code == 0
    assert not (tmp_path / "b").exists()


def test_a_cache_of_another_frame_is_refused(cache_path: Path, tmp_path: Path) -> None:
    caches = ("--data", cache_path, "--validation", cache_path)
    with pytest.raises(UsageError, match=r"was prepared with .*'size': 112.* asks for"):
        run(SMOKE, *caches, "-o", tmp_path / "run")


def test_a_bad_recipe_is_refused_before_anything_is_prepared(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\nepocs: 3\n")
    with pytest.raises(UsageError, match="unknown key 'epocs'"):
        run(tmp_path / "r.yaml", "--data", cohort, "--validation", cohort, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_cohort_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"images 'images/\{stem\}.* are required, found none"):
        run(SMOKE, "--data", tmp_path, "--validation", tmp_path, "-o", tmp_path / "run")


def test_the_whole_command(recipe: Path, cohort: Path, tmp_path: Path) -> None:
    result = run(recipe, "--data", cohort, "--validation", cohort, "-o", tmp_path / "run")
    assert result.exit_code == 0
    assert "epoch 1 of 1: loss" in result.output
    assert "ended: all 1 epochs are done" in result.output
    assert "Research use only" in result.output
    assert (tmp_path / "run" / "best.keras").is_file()


def test_a_data_path_that_is_missing_is_a_usage_error(tmp_path: Path) -> None:
    result = run(SMOKE, "--data", tmp_path / "no", "--validation", tmp_path, "-o", tmp_path)
    assert result.exit_code == 2
    assert "does not exist" in result.output


def test_an_export_learns_the_score_from_the_cohorts_that_it_is_given(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options of the command reach the export; what it makes of them is tested there."""
    from cmbnet.bundle import load_bundle
    from cmbnet.training.choose import bundle_writer

    run_folder, given = tmp_path / "run", {}
    run_folder.mkdir()
    (run_folder / "best.keras").write_bytes(b"")

    def export_run(*args: object, **options: object) -> object:
        given.update(options)
        return load_bundle()

    monkeypatch.setattr(bundle_writer, "export_run", export_run)
    result = CliRunner().invoke(
        export_command,
        [str(run_folder), "-o", str(tmp_path / "bundle"), "--validation", str(cohort),
         "--cache", str(cohort), "--score-from", str(cohort),
         "--score-from", str(cohort / "images" / ".."),
         "--data-kind", "patients", "--licence", "as agreed"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    export = given["export"]
    assert isinstance(export, bundle_writer.Export)
    assert [one.path for one in export.score_cohorts] == [cohort, cohort / "images" / ".."]
    assert (export.data_kind, export.licence) == ("patients", "as agreed")
    assert export.gate_scans == bundle_writer.GATE_SCANS
    bare = CliRunner().invoke(
        export_command, [str(run_folder), "-o", str(tmp_path / "b"), "--validation", str(cohort)]
    )
    assert isinstance(bare.exception, UsageError)
    assert "needs --data-kind KIND, --licence NAME" in str(bare.exception)
