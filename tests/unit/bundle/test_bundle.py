"""A bundle is read as it was written, and nothing else is read at all."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cmbnet.bundle import (
    Bundle,
    BundleSpec,
    Measured,
    NewArtefact,
    OperatingPoint,
    Training,
    add_artefacts,
    load_bundle,
    write_bundle,
)
from cmbnet.bundle.bundle import MAX_MANIFEST_BYTES
from cmbnet.errors import BundleError, UsageError
from cmbnet.lesions import LesionRules
from cmbnet.preprocess.recipe import PreprocessRecipe
from cmbnet.slices import SliceContext
from tests.helpers.schemas import FOLDER, schema_text

SPEC = BundleSpec(
    name="tiny",
    licence="Apache-2.0",
    recipe=PreprocessRecipe(size=96),
    context=SliceContext(target_mm=2.0),
    rules=LesionRules(max_elongation=5.0),
    operating_points=(
        OperatingPoint(
            name="balanced",
            pixel_threshold=0.4,
            lesion_score=0.6,
            patient_threshold=0.7,
            measured=Measured(
                cohort="3 phantoms",
                n_positive=2,
                n_negative=1,
                sensitivity=0.5,
                precision=None,
                false_positives_per_scan=1.5,
                patient_fpr=0.0,
                patient_fnr=0.0,
            ),
        ),
        OperatingPoint(
            name="sensitive", pixel_threshold=0.2, lesion_score=0.3, patient_threshold=0.3
        ),
    ),
    default_operating_point="balanced",
    training=Training(statement="Nothing was trained.", real_patient_data=False),
    versions={"cmbnet": "0"},
)
ARTEFACT = NewArtefact(
    file="net.tflite",
    content=b"weights",
    kind="litert",
    precision="float32",
    shape=(1, 96, 96, 3),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "b", spec=SPEC, artefacts=[ARTEFACT])


@pytest.fixture
def edit(bundle: Bundle) -> Callable[[Callable[[dict[str, Any]], Any]], Path]:
    """Change the manifest on disk by a function of its values."""

    def change(how: Callable[[dict[str, Any]], Any]) -> Path:
        file = bundle.path / "bundle.json"
        values = json.loads(file.read_text())
        how(values)
        file.write_text(json.dumps(values))
        return bundle.path

    return change


def test_what_was_written_is_read(bundle: Bundle) -> None:
    assert bundle.recipe == SPEC.recipe
    assert bundle.context == SPEC.context
    assert bundle.manifest.rules == SPEC.rules
    assert bundle.manifest.operating_points == SPEC.operating_points
    assert bundle.manifest.notice.startswith("Research use only")
    assert bundle.sha256 == hashlib.sha256((bundle.path / "bundle.json").read_bytes()).hexdigest()
    (artefact,) = bundle.artefacts("litert")
    assert bundle.read(artefact) == b"weights"
    assert bundle.artefacts("onnx") == ()
    bundle.verify()


def test_writing_twice_gives_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    again = write_bundle(tmp_path / "again", spec=SPEC, artefacts=[ARTEFACT])
    assert again.sha256 == bundle.sha256


def test_rules_take_the_thresholds_of_the_operating_point(bundle: Bundle) -> None:
    rules = bundle.rules_at(bundle.operating_point("sensitive"))
    assert rules == replace(SPEC.rules, pixel_threshold=0.2, min_score=0.3)
    assert bundle.operating_point().name == "balanced"


def test_an_unknown_operating_point_names_those_there_are(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="'best' is not in bundle tiny; it has: balanced, sens"):
        bundle.operating_point("best")


def test_artefacts_are_added_and_replaced(bundle: Bundle) -> None:
    onnx = replace(
        ARTEFACT, file="net.onnx", content=b"graph", kind="onnx", companions={"net.bin": b"more"}
    )
    bigger = add_artefacts(bundle, [onnx, replace(ARTEFACT, content=b"better weights")])
    assert [a.file for a in bigger.manifest.artefacts] == ["net.onnx", "net.tflite"]
    assert bigger.read(bigger.artefacts("litert")[0]) == b"better weights"
    assert bigger.read(bigger.artefacts("onnx")[0].companions[0]) == b"more"
    assert bigger.manifest.training == SPEC.training


def test_an_altered_file_is_found_by_its_hash(bundle: Bundle) -> None:
    (bundle.path / "net.tflite").write_bytes(b"weighty")
    again = load_bundle(bundle.path)
    with pytest.raises(BundleError, match=r"net.tflite was altered: sha256 [0-9a-f]{64} is req"):
        again.verify()


def test_a_truncated_file_is_found_on_loading(bundle: Bundle) -> None:
    (bundle.path / "net.tflite").write_bytes(b"weigh")
    with pytest.raises(BundleError, match=r"net.tflite was altered: 7 bytes are required, got 5"):
        load_bundle(bundle.path)


def test_a_missing_file_is_found_on_loading(bundle: Bundle) -> None:
    (bundle.path / "net.tflite").unlink()
    with pytest.raises(BundleError, match=r"net.tflite is missing; restore"):
        load_bundle(bundle.path)


def test_a_link_out_of_the_folder_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.path / "net.tflite").unlink()
    (tmp_path / "outside").write_bytes(b"weights")
    (bundle.path / "net.tflite").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match="link that leaves the bundle's folder"):
        load_bundle(bundle.path)


@pytest.mark.parametrize(
    "name",
    [
        "../net.tflite",
        "/etc/passwd",
        "a/../../b",
        "a\\b",
        ".hidden",
        "a//b",
        "",
        "c:x",
        "a\nb",
        "a\n",
    ],
)
def test_names_that_may_leave_the_folder_are_refused(edit: Any, name: str) -> None:
    path = edit(lambda m: m["artefacts"][0].update(file=name))
    with pytest.raises(BundleError, match=r"bundle.json is not valid: artefacts.0.file: String"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda m: m.update(surprise=1), "surprise: Extra inputs are not permitted"),
        (lambda m: m.pop("training"), "training: Field required"),
        (lambda m: m["artefacts"][0].update(sha256="12"), "artefacts.0.sha256: String should"),
        (lambda m: m["artefacts"][0].update(bytes=1 << 40), "artefacts.0.bytes: Input should be l"),
        (lambda m: m["artefacts"][0].update(kind="pickle"), "artefacts.0.kind: Input should be"),
        (lambda m: m["artefacts"][0].update(shape=[1, 96, 96]), "artefacts.0.shape"),
        (lambda m: m["artefacts"].append(m["artefacts"][0]), "every file must be listed once"),
        (lambda m: m["artefacts"][0].update(file="bundle.json"), "cannot be an artefact"),
        (lambda m: m["recipe"].update(colour=1), "recipe: Value error, unknown settings colour"),
        (lambda m: m["recipe"].update(size=1), "preprocessing: size must be in 8..4096, got 1"),
        (lambda m: m["rules"].update(min_scoer=1), "unknown settings min_scoer"),
        (lambda m: m["rules"].update(pixel_threshold=7), r"pixel_threshold in \(0, 1\], got 7"),
        (lambda m: m.update(default_operating_point="x"), "must be one of .*got 'x'"),
        (lambda m: m["operating_points"].append(m["operating_points"][0]), "must differ"),
        (lambda m: m.update(operating_points=[]), "operating_points: Tuple should have at least"),
        (lambda m: m.update(context={"target_mm": -1}), "context"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_said(edit: Any, how: Any, message: str) -> None:
    path = edit(how)
    with pytest.raises(BundleError, match=message):
        load_bundle(path)


def test_many_faults_are_cut_short(edit: Any) -> None:
    path = edit(lambda m: m.update(a=1, b=2, c=3, d=4, e=5))
    with pytest.raises(BundleError, match=r"\(and 2 more\)"):
        load_bundle(path)


@pytest.mark.parametrize(("version", "advice"), [(1, "export it again"), (3, "or a newer one")])
def test_a_bundle_of_another_format_says_what_to_do(edit: Any, version: int, advice: str) -> None:
    path = edit(lambda m: m.update(format=version, another_field=1))
    with pytest.raises(
        BundleError, match=rf"has format {version}, this cmbnet reads 2: .*{advice}"
    ):
        load_bundle(path)


def test_no_json(bundle: Bundle) -> None:
    (bundle.path / "bundle.json").write_text("{'pickle'")
    with pytest.raises(BundleError, match="is not valid: file: Invalid JSON"):
        load_bundle(bundle.path)


def test_a_manifest_of_absurd_size_is_not_read(bundle: Bundle) -> None:
    with (bundle.path / "bundle.json").open("a") as stream:
        stream.truncate(MAX_MANIFEST_BYTES + 1)
    with pytest.raises(BundleError, match="1048577 bytes, at most 1048576 are allowed"):
        load_bundle(bundle.path)


def test_a_folder_without_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is no model bundle, its bundle.json cannot be read"):
        load_bundle(tmp_path)


def test_an_invalid_bundle_is_not_written(tmp_path: Path) -> None:
    wrong = replace(SPEC, default_operating_point="none")
    with pytest.raises(BundleError, match="would not be valid"):
        write_bundle(tmp_path / "b", spec=wrong, artefacts=[ARTEFACT])
    assert not (tmp_path / "b").exists()


def test_the_schema_in_data_specs_is_the_one_of_the_models(bundle: Bundle) -> None:
    schema = schema_text("bundle.schema.json")
    assert (FOLDER / "bundle.schema.json").read_text() == schema, "python -m tests.helpers.schemas"
    values = json.loads((bundle.path / "bundle.json").read_text())
    jsonschema.validate(values, json.loads(schema))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values | {"surprise": 1}, json.loads(schema))


def test_the_context_of_the_paper_is_read(tmp_path: Path) -> None:
    adjacent = replace(SPEC, context=SliceContext())
    assert write_bundle(tmp_path, spec=adjacent, artefacts=[ARTEFACT]).context.target_mm is None
