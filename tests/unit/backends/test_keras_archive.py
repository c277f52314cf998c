"""A ``.keras`` file is a zip archive from who knows where: it is looked into first."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from cmbnet.backends.keras import load_keras
from cmbnet.bundle import Bundle, NewArtefact, write_bundle
from cmbnet.errors import BundleError
from tests.helpers.tiny_bundle import dot_finder, spec


def bundle_of(folder: Path, content: bytes) -> Bundle:
    artefact = NewArtefact(
        file="model.keras",
        content=content,
        kind="keras",
        precision="float32",
        shape=(1, 32, 32, 3),
    )
    return write_bundle(folder / "bundle", spec=spec(), artefacts=[artefact])


@pytest.fixture
def network(tmp_path: Path) -> bytes:
    dot_finder(32).save(tmp_path / "sound.keras")
    return (tmp_path / "sound.keras").read_bytes()


def with_entry(network: bytes, name: str) -> bytes:
    stream = io.BytesIO(network)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(name, b"x")
    return stream.getvalue()


def load(bundle: Bundle) -> object:
    return load_keras(bundle, bundle.manifest.artefacts[0])


def test_a_sound_file_is_loaded(network: bytes, tmp_path: Path) -> None:
    assert load(bundle_of(tmp_path, with_entry(network, "assets/notes.txt")))


@pytest.mark.parametrize("name", ["../up.py", "a/../../up", "/etc/x", "..\\up.py", "C:/x.py"])
def test_entries_that_would_leave_the_folder_are_refused(
    network: bytes, tmp_path: Path, name: str
) -> None:
    with pytest.raises(BundleError, match="outside its folder"):
        load(bundle_of(tmp_path, with_entry(network, name)))


def test_what_unpacks_to_too_much_is_refused(
    network: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmbnet.backends.keras.MAX_ARTEFACT_BYTES", 1000)
    with pytest.raises(BundleError, match=r"unpacks to \d+ bytes, at most 1000 are allowed"):
        load(bundle_of(tmp_path, network))


def test_code_in_a_lambda_is_not_run(tmp_path: Path) -> None:
    import keras

    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x[..., :1])(inputs))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(BundleError, match="no model that Keras loads"):
        load(bundle_of(tmp_path, (tmp_path / "lambda.keras").read_bytes()))
