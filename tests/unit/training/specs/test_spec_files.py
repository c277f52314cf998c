from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from cmbnet.errors import UsageError
from cmbnet.training.data.cohort import FOLDER
from cmbnet.training.data.specs import ReferenceSpec, load_scan_spec, load_spec, spec_sha256
from tests.helpers.schemas import schema_text

SPECS = Path(__file__).parents[4] / "data_specs"
FILES = sorted(SPECS.glob("*.yaml"))


def test_all_data_sets_of_the_issue_are_there() -> None:
    assert [path.stem for path in FILES] == [
        "bids", "dou2016", "momeni_scmb", "phantom", "tiantan_cnsr3", "valdo2021",
    ]  # fmt: skip


SCHEMA = schema_text("data_spec.schema.json")


def test_the_schema_is_that_of_the_models() -> None:
    assert (SPECS / "data_spec.schema.json").read_text(encoding="utf-8") == SCHEMA


def test_the_schema_describes_the_fields_of_a_region() -> None:
    region = json.loads(SCHEMA)["$defs"]["RegionTarget"]["properties"]
    assert all(field["description"] for field in region.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_models_and_schema_take_every_spec(path: Path) -> None:
    assert load_spec(path).name == path.stem
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.validate(values, json.loads(SCHEMA))


def test_a_folder_without_spec_is_read_as_phantoms_are() -> None:
    phantom = load_scan_spec(SPECS / "phantom.yaml")
    for key in ("groups", "case", "patient", "lesions", "splits"):
        assert getattr(phantom, key) == getattr(FOLDER, key)


def test_the_numbers_of_the_paper() -> None:
    paper = load_spec(SPECS / "tiantan_cnsr3.yaml")
    assert isinstance(paper, ReferenceSpec)
    parts = {part.name: part for part in paper.parts}
    assert (paper.patients, paper.lesions) == (1615, 10525)
    assert (parts["training"].patients, parts["validation"].patients) == (1285, 330)
    assert (parts["training"].small, parts["training"].large) == (7461, 927)
    assert (parts["validation"].small, parts["validation"].large) == (1926, 211)
    assert (parts["test"].patients, parts["controls"].patients) == (72, 90)


def test_numbers_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    text = (SPECS / "tiantan_cnsr3.yaml").read_text(encoding="utf-8")
    (tmp_path / "s.yaml").write_text(text.replace("7461", "7462"))
    with pytest.raises(UsageError, match="small is stated as 9387, but the parts add up to 9388"):
        load_spec(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("name: phantom", "names: phantom", r"names: Extra inputs are not permitted"),
        ("images/{stem}", "/images/{stem}", r"a path below the root with / is required"),
        ("images/{stem}", "../images/{stem}", r"a path below the root with / is required"),
        ("lesions/{stem}", "lesions/{other}", r"uses \['other'\], but images"),
        ("images/{stem}.nii", "images/{Stem}.nii", r"fields are written \{name\} or \{name\?\}"),
        ("by: none, name: all", "by: field, field: side", r"gives no fields \['side'\]"),
        ("by: none, name: all", "by: patient, shares: {a: 0.5}", r"must add up to 1, got 0.5"),
        ("kind: scans", "kind: scams", r"does not match any of the expected tags"),
    ],
)
def test_what_is_wrong_with_a_spec_is_said(tmp_path: Path, old: str, new: str, match: str) -> None:
    text = (SPECS / "phantom.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "s.yaml").write_text(text.replace(old, new))
    with pytest.raises(UsageError, match=match):
        load_spec(tmp_path / "s.yaml")


@pytest.mark.parametrize("content", [None, "a: [", "\xff"])
def test_what_is_no_yaml_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "s.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match="a YAML data spec is required, got"):
        load_spec(tmp_path / "s.yaml")


def test_numbers_cannot_be_prepared() -> None:
    with pytest.raises(UsageError, match="no scans: nothing to prepare"):
        load_scan_spec(SPECS / "tiantan_cnsr3.yaml")


def test_the_hash_is_of_what_a_spec_says_not_of_its_layout(tmp_path: Path) -> None:
    text = (SPECS / "phantom.yaml").read_text(encoding="utf-8")
    (tmp_path / "a.yaml").write_text("# another comment\n" + text)
    (tmp_path / "b.yaml").write_text(text.replace("cmbnet phantom\n", "elsewhere\n"))
    first, same, other = (
        spec_sha256(load_spec(path))
        for path in (SPECS / "phantom.yaml", tmp_path / "a.yaml", tmp_path / "b.yaml")
    )
    assert first == same != other
