"""The command, and everything it writes."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.cli.evaluate import command
from cmbnet.errors import InputRefused, UsageError
from cmbnet.evaluation import Case, Settings, evaluate_cohort, summarise
from cmbnet.evaluation.cohort.analysis import Plan, analyse
from cmbnet.evaluation.cohort.files import Folders, pair_files
from cmbnet.evaluation.cohort.load import score_many
from cmbnet.evaluation.show.figures import Versus, all_figures, bland_altman, write_figure
from cmbnet.evaluation.show.gallery import HALF_MM, STEP_MM, axial_cut
from cmbnet.evaluation.show.page import render_page
from cmbnet.evaluation.show.table import Table, join_latex
from cmbnet.evaluation.show.tables import all_tables
from cmbnet.evaluation.show.write import notes
from cmbnet.io import write_nifti
from cmbnet.lesions import spacing_affine
from cmbnet.volume import Volume

from .cohort import SHAPE, truth_of, write_cohort

SPECS = Path(__file__).resolve().parents[3] / "data_specs"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def invoke(*args: str | int | Path) -> str:
    result = CliRunner().invoke(command, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def full(root: Path) -> Path:
    """A run with everything switched on."""
    out = root / "scores"
    invoke(
        "--truth", root / "truth", "--pred", root / "pred", "--probabilities", root / "prob",
        "--brain", root / "brain", "--images", root / "images", "--manifest", root / "cases.csv",
        "--stratum", "site", "--versus", root / "other", "--resamples", 200, "--jobs", 1,
        "--data-kind", "phantoms", "--for-print", "-o", out,
    )  # fmt: skip
    return out


def test_everything_is_written(full: Path) -> None:
    names = {path.relative_to(full).as_posix() for path in full.rglob("*") if path.is_file()}
    figures = ("roc", "froc", "bland_altman", "size_detection", "pixel_curves", "error_gallery",
               "count_bands", "calibration")  # fmt: skip
    assert names == {
        "results.json", "cases.csv", "lesions.csv", "curves.csv", "tables.md", "tables.tex",
        "evaluation.html", "claim.md",
        *(f"figures/{name}.{kind}" for name in figures for kind in ("svg", "png", "pdf")),
    }  # fmt: skip
    svg, pdf = full / "figures" / "roc.svg", full / "figures" / "roc.pdf"
    assert RESEARCH_USE_ONLY in svg.read_text(encoding="utf-8")
    assert pdf.read_bytes().startswith(b"%PDF")
    claim = (full / "claim.md").read_text(encoding="utf-8")
    assert claim.count("\n| ") == 43
    assert "9 scans of 9 patients" in claim
    assert RESEARCH_USE_ONLY in claim


def test_the_curves_of_both_models_have_their_names(root: Path, tmp_path: Path) -> None:
    folders = Folders(root / "truth", root / "pred", root / "prob")
    scores = summarise(
        score_many(pair_files(folders, allow_missing=False), Settings(), jobs=1), Settings()
    )
    analysis = analyse(scores, Plan(resamples=100, band_resamples=50))
    figures = all_figures(analysis, Versus(("old", "new"), scores))
    area = analysis.areas[0].value
    assert f"new: {area:.3f}".encode() in write_figure(figures["roc"], tmp_path / "roc")
    froc = write_figure(figures["froc"], tmp_path / "froc")
    assert b">old<" in froc
    assert b">new<" in froc


def test_results_follow_the_schema(full: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((SPECS / "evaluation.schema.json").read_text(encoding="utf-8"))
    results = json.loads((full / "results.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(results, schema)
    assert results["research_use_only"] == RESEARCH_USE_ONLY
    assert results["cohort"]["scans"] == 9
    assert results["cohort"]["controls"] == 3
    broken = results | {"metrics": [{"name": "dice"}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


@pytest.mark.parametrize("path", sorted((SPECS.parent / "benchmarks" / "card").glob("*.json")))
def test_recorded_results_follow_the_schema(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((SPECS / "evaluation.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema)


def test_tables_agree_with_the_lesions(full: Path) -> None:
    results = json.loads((full / "results.json").read_text(encoding="utf-8"))
    with (full / "lesions.csv").open(newline="", encoding="utf-8") as stream:
        lesions = list(csv.DictReader(stream))
    with (full / "cases.csv").open(newline="", encoding="utf-8") as stream:
        cases = list(csv.DictReader(stream))
    counts = results["counts"]
    for verdict in ("found", "missed", "correct", "false"):
        assert sum(row["verdict"] == verdict for row in lesions) == counts[verdict]
        assert sum(int(row[verdict]) for row in cases) == counts[verdict]
    assert sum(int(row["tp"]) for row in cases) == counts["tp"]
    values = {one["name"]: one["value"] for one in results["metrics"]}
    assert values["lesion_recall"] == counts["found"] / (counts["found"] + counts["missed"])
    assert {row["site"] for row in cases} == {"S0", "S1"}


def test_the_comparison_sees_the_worse_model(full: Path) -> None:
    results = json.loads((full / "results.json").read_text(encoding="utf-8"))
    recall = next(d for d in results["comparison"]["differences"] if d["name"] == "lesion_recall")
    assert recall["difference"] > 0
    assert recall["interval"]["low"] <= recall["difference"] <= recall["interval"]["high"]
    assert 0 < recall["p"] <= 1


class Checker(HTMLParser):
    """Collects what a page refers to, and whether its elements are closed."""

    VOID = ("meta", "br", "img", "link", "hr", "path", "use")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href"):
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(full: Path) -> None:
    page = (full / "evaluation.html").read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    twice = {one for one in checker.ids if checker.ids.count(one) > 1}
    # matplotlib names marks and paths by a hash of their content: twice means twice the same.
    assert all(re.fullmatch(r"f\d+-\w*[0-9a-f]{10}", one) for one in twice), twice
    inside = {f"#{one}" for one in checker.ids}
    assert all(link in inside or link.startswith("data:") for link in checker.links)
    assert RESEARCH_USE_ONLY in page
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in page
    assert "<script" not in page
    assert page.count("<svg") == 8
    assert "on digital phantoms" in page
    assert "not recorded" in page, "the masks do not say by which model they are"
    for reference in re.findall(r"url\(#([^)]+)\)", page):
        assert reference in checker.ids


def test_two_processes_write_the_same_bytes_as_one(root: Path, full: Path) -> None:
    again = root / "again"
    invoke(
        "--truth", root / "truth", "--pred", root / "pred", "--probabilities", root / "prob",
        "--brain", root / "brain", "--manifest", root / "cases.csv", "--stratum", "site",
        "--resamples", 200, "--jobs", 2, "--no-figures", "--data-kind", "phantoms", "-o", again,
    )  # fmt: skip
    for name in ("cases.csv", "lesions.csv", "curves.csv"):
        assert (again / name).read_bytes() == (full / name).read_bytes(), name


def test_a_figure_is_the_same_bytes_twice(tmp_path: Path) -> None:
    case = Case("a", truth_of(1), truth_of(1))
    analysis = analyse(evaluate_cohort([case]), Plan(resamples=100, band_resamples=100))
    for name in ("first", "second"):
        write_figure(bland_altman(analysis), tmp_path / name)
    for kind in ("svg", "png"):
        first, second = (tmp_path / f"{name}.{kind}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_without_out_only_tables_are_printed(root: Path) -> None:
    output = invoke("--truth", root / "truth", "--pred", root / "pred", "--resamples", 100,
                    "--jobs", 1)  # fmt: skip
    assert "### Model performance" in output
    assert "FROC" not in output  # no scores without probabilities
    assert RESEARCH_USE_ONLY in output


def test_probabilities_alone_are_thresholded(root: Path) -> None:
    out = root / "thresholded"
    invoke("--truth", root / "truth", "--probabilities", root / "prob", "--resamples", 100,
           "--jobs", 1, "--no-figures", "--data-kind", "phantoms", "-o", out)  # fmt: skip
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["froc"]["sensitivity"][-1] > 0
    assert not (out / "evaluation.html").exists()


BUNDLE_SHA256 = "b" * 64


def write_predicted(folder: Path, **changes: Any) -> Path:
    """As `cmbnet predict` writes it: everything found, and two candidates a case excluded."""
    for case in range(9):
        place, truth = folder / f"c{case:02}", truth_of(case)
        write_nifti(truth, place / "lesions.nii.gz", dtype=np.uint16)
        labels = [int(v) for v in np.unique(truth.data) if v]
        rows = [f"{n},0.{9 - n},0.{9 - n},,0,0,0,8" for n in labels]
        rows += [f"{50 + n},0.1,0.1,score,{mm},2,1,5" for n, mm in enumerate((0.5, 30.0))]
        header = "id,score,mean_probability,removed_by,right_mm,anterior_mm,superior_mm,volume_mm3"
        header, rows = f"{header},max_probability", [f"{row},0.9" for row in rows]
        (place / "lesions.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        model = {"bundle": "tiny", "operating_point": "balanced", "pixel_threshold": 0.5,
                 "lesion_score": 0.2, "patient_threshold": 0.3} | changes  # fmt: skip
        sha256 = model.pop("bundle_sha256", BUNDLE_SHA256)
        request = {"input_sha256": f"{case:064x}", "bundle_sha256": sha256}
        text = json.dumps({"request": request, "model": model})
        (place / "result.json").write_text(text, encoding="utf-8")
    return folder


def evaluated(root: Path, pred: Path, *more: str | Path) -> dict[str, Any]:
    out = pred / "scores-of-it"
    invoke("--truth", root / "truth", "--pred", pred, "--resamples", 100, "--jobs", 1,
           "--no-figures", "--data-kind", "phantoms", "-o", out, *more)  # fmt: skip
    document: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return document


def test_the_output_of_predict_is_read(root: Path, tmp_path: Path) -> None:
    """One folder per case with instance labels and a table of scores."""
    results = evaluated(root, write_predicted(tmp_path))
    values = {one["name"]: one["value"] for one in results["metrics"]}
    assert values["lesion_f1"] == values["dice"] == 1
    # Nothing false is left in the prediction; of what its score excluded 18 are.
    assert results["froc"]["average_precision"] == 1
    assert results["froc"]["operating_point"] == [0, 1]
    # Missed lesions have no score without probabilities, so the paper's curve is not drawn; nor is
    # that of patients, with three controls.
    (area,) = results["areas"]
    assert (area["name"], area["negatives"], area["value"]) == ("candidate_auc", 18, 1)
    assert any("not enough negatives, 3" in note for note in results["notes"]), results["notes"]


def test_results_say_what_they_are_of(root: Path, tmp_path: Path) -> None:
    results = evaluated(root, write_predicted(tmp_path), "--versus", root / "other")
    assert results["model"] == {
        "bundle": "tiny", "bundle_sha256": BUNDLE_SHA256, "operating_point": "balanced",
        "pixel_threshold": 0.5, "lesion_score": 0.2, "patient_threshold": 0.3,
    }  # fmt: skip
    assert results["comparison"]["model"] is None
    assert results["data"]["kind"] == "phantoms"
    assert results["data"]["cases"][3] == {
        "case": "c03", "patient": "c03", "input_sha256": f"{3:064x}"
    }  # fmt: skip
    (tmp_path / "c04" / "result.json").unlink()
    assert evaluated(root, tmp_path)["model"] is None
    out = root / "patients"
    output = invoke("--truth", root / "truth", "--pred", root / "pred", "--data-kind", "patients",
                    "--resamples", 100, "--jobs", 1, "--no-figures", "-o", out)  # fmt: skip
    assert "Research use only" in output
    assert "on scans of patients" in (out / "tables.md").read_text(encoding="utf-8")
    assert "not recorded" in (out / "claim.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "changes",
    [{"bundle_sha256": "c" * 64}, {"operating_point": "strict"}, {"lesion_score": 0.25}],
)
def test_predictions_of_two_models_are_no_cohort(
    root: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    write_predicted(tmp_path / "first")
    write_predicted(tmp_path / "second", **changes)
    (tmp_path / "second" / "c05").rename(tmp_path / "moved")
    shutil.rmtree(tmp_path / "first" / "c05")
    (tmp_path / "moved").rename(tmp_path / "first" / "c05")
    with pytest.raises(InputRefused, match=r"one bundle at one operating point.*case c05"):
        evaluated(root, tmp_path / "first")


def test_the_kind_of_data_must_be_stated(root: Path) -> None:
    where = ("--truth", root / "truth", "--pred", root / "pred")
    with pytest.raises(UsageError, match="--data-kind is required with -o"):
        invoke(*where, "-o", root / "nowhere")
    assert not (root / "nowhere").exists()


def test_maps_that_are_thresholded_anew_are_of_no_operating_point(
    root: Path, tmp_path: Path
) -> None:
    write_predicted(tmp_path)
    for case in range(9):
        (tmp_path / f"c{case:02}" / "lesions.nii.gz").unlink()
        shutil.copy(root / "prob" / f"c{case:02}.nii.gz",
                    tmp_path / f"c{case:02}" / "probability.nii.gz")  # fmt: skip
    out = tmp_path / "scores-of-it"
    invoke("--truth", root / "truth", "--probabilities", tmp_path, "--resamples", 100, "--jobs", 1,
           "--no-figures", "--data-kind", "phantoms", "-o", out)  # fmt: skip
    model = json.loads((out / "results.json").read_text(encoding="utf-8"))["model"]
    assert (model["bundle_sha256"], model["operating_point"]) == (BUNDLE_SHA256, None)


def test_a_mismatch_ends_the_command(root: Path, tmp_path: Path) -> None:
    write_nifti(truth_of(1), tmp_path / "c00.nii.gz", dtype=np.uint16)
    with pytest.raises(InputRefused, match="must hold the same cases"):
        invoke("--truth", root / "truth", "--pred", tmp_path)


def test_strata_need_a_manifest_and_thresholds_are_shares(root: Path) -> None:
    where = ("--truth", root / "truth", "--pred", root / "pred")
    with pytest.raises(UsageError, match="pass --manifest too"):
        invoke(*where, "--stratum", "site")
    result = CliRunner().invoke(command, [str(arg) for arg in (*where, "--threshold", "1.5")])
    assert result.exit_code == 2


def test_a_page_without_curves_says_why() -> None:
    unscored = analyse(evaluate_cohort([Case("a", truth_of(1), truth_of(1))]), Plan(100, 100))
    assert any("lesions of 1 cases have no score" in line for line in notes(unscored))
    probability = truth_of(1).with_data(np.zeros(SHAPE))
    case = Case("a", truth_of(1), truth_of(1), probability)
    assert not any(
        "no score" in line for line in notes(analyse(evaluate_cohort([case]), Plan(100, 100)))
    )


def test_regions_come_from_one_place(root: Path) -> None:
    with pytest.raises(UsageError, match="either --regions or --lesions"):
        invoke("--truth", root / "truth", "--pred", root / "pred", "--regions", root / "brain",
               "--lesions", root / "cases.csv")  # fmt: skip


def test_html_and_latex_are_escaped() -> None:
    table = Table("a<b> & 5 %", ("x_1", "y"), (("<script>", "#1"),), "50 %")
    page = render_page("<t>", {"<k>": "<v>"}, [table], {}, ["<note>"])
    for raw in ("<script>", "<t>", "<k>", "<v>", "<note>", "a<b>"):
        assert raw not in page
    assert r"x\_1" in join_latex([table], "foot")
    assert r"a\textless{}b\textgreater{} \& 5 \%" in join_latex([table], "foot")
    assert "| <script> | #1 |" in table.to_markdown()


def test_rows_must_fit_the_header() -> None:
    with pytest.raises(ValueError, match="rows of 2 cells"):
        Table.of("t", ("a", "b"), [("1",)])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("flip", [(), (0,), (1, 2)])
def test_a_cut_shows_the_right_of_the_patient_on_the_left(
    order: tuple[int, ...], flip: tuple[int, ...]
) -> None:
    """A voxel to the patient's right and one to the front, whatever the file's axes."""
    data = np.zeros(SHAPE)
    data[4, 20, 30] = 1  # x grows to the right
    data[4, 30, 20] = 2  # y grows to the front
    affine = spacing_affine((2.0, 1.0, 1.0))
    centre = Volume(data, affine).world_mm((4, 20, 20))
    for axis in flip:
        data = np.flip(data, axis)
        affine = affine.copy()
        affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
        affine[:3, axis] *= -1
    volume = Volume(np.transpose(data, order), affine[:, [*order, 3]])
    cut = axial_cut(volume, centre, order=0)
    middle, ten_mm = round(HALF_MM / STEP_MM), round(10 / STEP_MM)
    assert cut[middle, middle - ten_mm] == 1
    assert cut[middle - ten_mm, middle] == 2
    assert cut[middle, middle + ten_mm] == 0


def test_a_cut_outside_the_grid_is_empty() -> None:
    assert not axial_cut(truth_of(1), (500.0, 0.0, 0.0), order=1).any()


def test_scans_of_one_patient_are_also_counted_by_scan() -> None:
    """Two scans of one patient: 1 and 3 lesions, both found; a control in between."""
    affine = spacing_affine((2.0, 0.5, 0.5))
    cases = []
    for name, patient, count in (("a1", "a", 1), ("a2", "a", 3), ("b", "b", 0)):
        mask = np.zeros((6, 40, 40), np.uint8)
        for n in range(count):
            mask[2, 10 * n + 2 : 10 * n + 7, 5:10] = 1
        cases.append(Case(name, Volume(mask, affine), Volume(mask, affine), patient=patient))
    tables = {
        table.title: table
        for table in all_tables(analyse(evaluate_cohort(cases), Plan(resamples=100)))
    }
    by_scan = tables["Lesions per scan, predicted against true"]
    assert by_scan.rows[0][1] == "1.000"
    bands = tables["Bands of lesions per patient, true by predicted"]
    assert bands.rows[0] == ("true 0", "1", "0", "0", "0", "0")
    assert bands.rows[2] == ("true 2-4", "0", "0", "1", "0", "0")
