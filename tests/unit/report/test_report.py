"""What is written for a case: complete, on the right grid, the same twice, and harmless."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.io import read_nifti
from cmbnet.predict import InputRecord, Prediction, Request, predict_volume
from cmbnet.regions import UNKNOWN, Locator, Place
from cmbnet.report import Result, summary_row, write_prediction
from cmbnet.report.html import report_html
from cmbnet.report.pictures import Painter
from cmbnet.report.result import MAX_EXCLUDED
from cmbnet.volume import Volume, grid_difference
from tests.helpers.candidate import weighing
from tests.helpers.schemas import FOLDER, schema_text
from tests.helpers.tiny_scan import DOTS, tiny_scan

HOSTILE = """<script>alert('x')</script>"><img src=x onerror=alert(1)>&$notice${title}.nii.gz"""


def with_probability(found: Prediction) -> Prediction:
    return replace(found, request=found.request.but(save_probability=True))


@pytest.fixture(scope="module")
def found(tiny_bundle: Bundle, tiny_backend: Backend) -> Prediction:
    return predict_volume(tiny_scan(), tiny_bundle, tiny_backend)


@pytest.fixture(scope="module")
def empty(tiny_bundle: Bundle, tiny_backend: Backend) -> Prediction:
    return predict_volume(tiny_scan(()), tiny_bundle, tiny_backend)


@pytest.fixture(scope="module")
def strict(tiny_bundle: Bundle, tiny_backend: Backend) -> Prediction:
    return predict_volume(tiny_scan(), tiny_bundle, tiny_backend, Request(operating_point="strict"))


class Page(HTMLParser):
    """Checks that tags nest, and keeps what the tests ask for."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


def test_all_files_and_none_else(found: Prediction, tmp_path: Path) -> None:
    result = write_prediction(found, tmp_path / "a")
    names = {"mask.nii.gz", "lesions.nii.gz", "lesions.csv", "result.json", "report.html"}
    names |= {"thumbnail.jpg"}
    assert {file.name for file in (tmp_path / "a").iterdir()} == names == set(result.files)
    write_prediction(with_probability(found), tmp_path / "a")
    assert {f.name for f in (tmp_path / "a").iterdir()} == names | {"probability.nii.gz"}
    write_prediction(found, tmp_path / "a")
    assert {file.name for file in (tmp_path / "a").iterdir()} == names


def test_maps_lie_on_the_grid_of_the_scan(found: Prediction, tmp_path: Path) -> None:
    write_prediction(with_probability(found), tmp_path)
    mask, labels, probability = (
        read_nifti(tmp_path / f"{name}.nii.gz") for name in ("mask", "lesions", "probability")
    )
    for volume in (mask, labels, probability):
        assert grid_difference(volume, found.volume) is None
    assert np.array_equal(labels.data, found.found.labels)
    assert np.array_equal(mask.data, found.found.labels > 0)
    assert np.array_equal(probability.data, found.probability.data)


def test_the_same_prediction_gives_the_same_bytes(found: Prediction, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_prediction(found, tmp_path / name, case="case")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_result_json_keeps_to_its_schema(found: Prediction, tmp_path: Path) -> None:
    schema = schema_text("result.schema.json")
    assert (FOLDER / "result.schema.json").read_text() == schema, "python -m tests.helpers.schemas"
    write_prediction(found, tmp_path)
    values = json.loads((tmp_path / "result.json").read_text())
    jsonschema.validate(values, json.loads(schema))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {"surprise": 1}, json.loads(schema))
    assert Result.model_validate(values).model_dump(mode="json") == values


def test_result_json_says_what_was_found(found: Prediction, tmp_path: Path) -> None:
    write_prediction(found, tmp_path / "case7")
    values = json.loads((tmp_path / "case7" / "result.json").read_text())
    assert values["case"] == "case7"
    assert values["notice"] == RESEARCH_USE_ONLY
    assert values["scan"]["lesions"] == len(values["lesions"]) == len(DOTS)
    assert values["scan"]["positive"] is True
    assert values["input"]["shape_ijk"] == [96, 96, 24]
    assert values["input"]["spacing_ijk_mm"] == [1.0, 1.0, 3.0]
    assert values["input"]["affine_ijk_to_ras_mm"][0] == [1.0, 0.0, 0.0, -47.5]
    assert values["request"]["bundle_sha256"] == found.bundle.sha256
    assert values["model"]["real_patient_data"] is False
    codes = [f["code"] for f in values["quality"]["findings"]]
    assert codes == [finding.code for finding in found.quality.findings]
    assert codes  # the scan is less than a brain
    i, j, k = values["lesions"][0]["voxel_ijk"]
    assert found.found.labels[k, j, i] == 1


def test_lesions_csv(strict: Prediction, found: Prediction, tmp_path: Path) -> None:
    write_prediction(found, tmp_path / "found")
    write_prediction(strict, tmp_path / "strict")
    with (tmp_path / "found" / "lesions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert {row["status"] for row in rows} == {"lesion"}
    first = found.found.lesions[0]
    assert float(rows[0]["superior_mm"]) == pytest.approx(first.centre_ras_mm[2], abs=0.01)
    assert float(rows[0]["volume_mm3"]) == pytest.approx(first.volume_mm3)
    with (tmp_path / "strict" / "lesions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["status"], row["removed_by"]) for row in rows} == {("excluded", "score")}
    assert rows[0]["reason"].endswith("is below 0.999")


def test_the_page_stands_alone(found: Prediction, tmp_path: Path) -> None:
    write_prediction(found, tmp_path)
    page = page_of(tmp_path)
    assert page.of("script") == page.of("link") == page.of("iframe") == []
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert name not in ("onerror", "onload"), tag
            if name == "href":
                assert str(value).startswith("#")
            if name == "src":
                assert str(value).startswith("data:image/jpeg;base64,")
    assert "url(" not in (tmp_path / "report.html").read_text()
    assert page.of("html") == [{"lang": "en"}]


def test_rows_and_pictures_lead_to_one_another(
    found: Prediction, strict: Prediction, tmp_path: Path
) -> None:
    write_prediction(found, tmp_path / "found")
    write_prediction(strict, tmp_path / "strict")
    for name in ("found", "strict"):
        page = page_of(tmp_path / name)
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        leads = [str(link["href"]).removeprefix("#") for link in page.of("a")]
        assert set(leads) <= set(ids)
        if name == "found":
            assert {f"lesion-{n}" for n in (1, 2, 3)} | {f"row-{n}" for n in (1, 2, 3)} <= set(
                leads
            )
        else:  # excluded candidates have no row of their own picture, but a slice
            assert {lead.split("-")[0] for lead in leads} == {"slice"}
            assert len(leads) == len(strict.found.excluded)


def test_the_page_is_accessible(found: Prediction, tmp_path: Path) -> None:
    write_prediction(found, tmp_path)
    page = page_of(tmp_path)
    alts = [str(image["alt"]) for image in page.of("img")]
    assert len(alts) == len(set(alts)) == 6  # a slice and a tile for each of three dots
    assert sum("axial, coronal and sagittal plane" in alt for alt in alts) == 3
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.of("th"))


def test_the_page_says_what_was_found(found: Prediction, tmp_path: Path) -> None:
    write_prediction(found, tmp_path)
    text = page_of(tmp_path).text
    assert text.count(RESEARCH_USE_ONLY) == 2
    assert "3 possible microbleeds were found: 0 small, 3 large" in text
    assert "the scan is called positive" in text
    assert found.bundle.sha256 in text
    assert "Weights set by hand for tests; it has seen no data." in text
    for finding in found.quality.findings:
        assert finding.message in text
    assert "Removed by shape" in text


def test_an_empty_result_explains_itself(
    empty: Prediction, strict: Prediction, tmp_path: Path
) -> None:
    write_prediction(empty, tmp_path / "empty")
    text = page_of(tmp_path / "empty").text
    assert "No microbleeds were reported" in text
    highest = f"{empty.found.highest_probability:.3f}"
    assert f"Its highest probability was {highest}; a voxel counts from 0.500." in text
    assert "there was not even a candidate" in text
    assert len(page_of(tmp_path / "empty").of("img")) == 12
    write_prediction(strict, tmp_path / "strict")
    text = page_of(tmp_path / "strict").text
    count = len(strict.found.excluded)
    assert (
        f"There were {count} candidates, and the rules removed them all: {count} by score" in text
    )
    assert f"Excluded candidates, {count} of {count}" in text


def test_the_weights_of_a_learned_score_stay_in_the_bundle(
    found: Prediction, tmp_path: Path
) -> None:
    rules = replace(found.rules, evidence=weighing(log_volume=1.0))
    for name, prediction in (("plain", found), ("learned", replace(found, rules=rules))):
        write_prediction(prediction, tmp_path / name)
        values = json.loads((tmp_path / name / "result.json").read_text())
        assert values["model"]["learned_score"] == (name == "learned")
        assert values["model"]["rules"]["evidence"] is None
        assert not any("profile" in lesion for lesion in values["lesions"])


def test_a_forced_result_says_so(found: Prediction, tmp_path: Path) -> None:
    write_prediction(replace(found, forced=True), tmp_path)
    assert "refused as not analysable, and the refusal was overruled" in page_of(tmp_path).text


def test_nothing_from_a_file_becomes_markup(found: Prediction, tmp_path: Path) -> None:
    record = InputRecord(file=HOSTILE, sha256="0" * 64)
    volume = replace(found.volume, source=HOSTILE, notes=(HOSTILE,))
    finding = replace(found.quality.findings[0], message=HOSTILE, code=HOSTILE)
    training = found.bundle.manifest.training.model_copy(update={"statement": HOSTILE})
    manifest = found.bundle.manifest.model_copy(update={"training": training, "licence": HOSTILE})
    lesion = replace(found.found.lesions[0], reason=HOSTILE, removed_by="score")
    hostile = replace(
        found,
        record=record,
        volume=volume,
        quality=replace(found.quality, findings=(finding,)),
        bundle=replace(found.bundle, manifest=manifest),
        found=replace(found.found, excluded=(lesion,)),
    )
    write_prediction(hostile, tmp_path, case=HOSTILE)
    page = page_of(tmp_path)
    assert page.of("script") == []
    assert len(page.of("img")) == 6
    assert page.text.count("<script>alert('x')</script>") >= 7
    assert "${title}" in page.text  # what looks like a place of the template is text, too
    assert json.loads((tmp_path / "result.json").read_text())["case"] == HOSTILE


def test_many_lesions_are_cut_short_and_counted(found: Prediction, tmp_path: Path) -> None:
    first = found.found.lesions[0]
    lesions = tuple(replace(first, id=n) for n in range(1, 71))
    excluded = tuple(replace(first, id=n, removed_by="size") for n in range(71, 400))
    many = replace(found, found=replace(found.found, lesions=lesions, excluded=excluded))
    result = write_prediction(many, tmp_path)
    assert (len(result.excluded), result.excluded_total) == (MAX_EXCLUDED, 329)
    text = page_of(tmp_path).text
    assert "The 10 of lowest score are left out." in text
    assert "Excluded candidates, 50 of 329" in text
    assert len((tmp_path / "lesions.csv").read_text().splitlines()) == 1 + 70 + 329


def test_an_interrupted_case_is_not_finished(
    found: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_prediction(found, tmp_path)

    def no_space(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cmbnet.report.write.report_html", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_prediction(found, tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_pictures_follow_the_patient_not_the_file(
    found: Prediction, tiny_bundle: Bundle, tiny_backend: Backend
) -> None:
    """The same scan stored with other axes gives the same page of pictures."""
    scan = tiny_scan()
    affine = scan.affine[:, [1, 0, 2, 3]].copy()
    affine[:, 3] += affine[:, 2] * 95
    affine[:, 2] *= -1
    turned = Volume(np.flip(scan.data.transpose(1, 0, 2), axis=2), affine)
    other = predict_volume(turned, tiny_bundle, tiny_backend)
    pictures = []
    for prediction in (found, other):
        result = write_like(prediction)
        page = Page(report_html(Painter(prediction), result))
        pictures.append([image["src"] for image in page.of("img")])
    assert pictures[0] == pictures[1]


def write_like(prediction: Prediction) -> Result:
    from cmbnet.report.result import build_result

    return build_result(prediction, case="case")


def placed(found: Prediction, *places: Place, failed: str = "") -> Prediction:
    """The same with places of the lesions as they are told."""
    lesions = tuple(
        replace(lesion, place=place)
        for lesion, place in zip(found.found.lesions, places, strict=True)
    )
    return replace(
        found,
        found=replace(found.found, lesions=lesions),
        locator=Locator(None, failed),
    )


PLACES = (
    Place("frontal", "left", "lobar", 4.0, 5.0, (-20.0, 40.0, 30.0)),
    Place("thalamus", "right", "deep", 2.0, 6.0, (12.0, -18.0, 8.0)),
    Place("cerebellum", "midline", "infratentorial", 9.0, 9.0, (0.0, -60.0, -40.0)),
)


def test_regions_are_on_the_page_and_in_the_tables(found: Prediction, tmp_path: Path) -> None:
    result = write_prediction(placed(found, *PLACES), tmp_path / "case")
    page = Page((tmp_path / "case" / "report.html").read_text(encoding="utf-8"))
    assert "1 lobar, 1 deep, 1 infratentorial. Pattern: mixed. Band of the count: 2-4." in page.text
    assert "thalamus, right (deep)" in page.text
    assert [image["alt"] for image in page.of("img")].count(
        "The lesions in a transparent template head, from above, from the front and from the side"
    ) == 1
    with (tmp_path / "case" / "lesions.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["status"] == "lesion"]
    assert [(row["region"], row["side"], row["region_group"]) for row in rows] == [
        (place.region, place.side, place.group) for place in PLACES
    ]
    assert rows[0]["region_margin_mm"] == "4.0"
    row = summary_row(result)
    assert (row["lobar"], row["lobar_left"], row["lobar_right"], row["deep_right"]) == (1, 1, 0, 1)
    assert (row["infratentorial"], row["cerebellum"], row["region_unknown"]) == (1, 1, 0)
    assert row["pattern"] == "mixed"


def test_unknown_regions_say_why(found: Prediction, tmp_path: Path) -> None:
    why = "no regions are given: at least 150 ml of brain are required, got 20"
    result = write_prediction(placed(found, *[UNKNOWN] * 3, failed=why), tmp_path / "case")
    page = Page((tmp_path / "case" / "report.html").read_text(encoding="utf-8"))
    assert "No regions are given: at least 150 ml of brain are required, got 20." in page.text
    assert result.regions.pattern == "unknown"
    assert summary_row(result)["region_unknown"] == 3
