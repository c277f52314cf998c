"""On CI nothing that a test needs may be missing: a skip there would hide a broken install."""

import importlib.util
import os
import shutil

import pytest

from tests.helpers.orthanc import orthanc_program

pytestmark = pytest.mark.skipif(
    os.environ.get("CI") != "true", reason="only CI promises the Debian packages and every extra"
)


@pytest.mark.parametrize("program", ["chromium", "dciodvfy", "openssl", "storescu"])
def test_debian_programs_are_installed(program: str) -> None:
    assert shutil.which(program), f"{program}: .ci/run should have installed it"


def test_orthanc_and_its_plugin_are_installed() -> None:
    try:
        orthanc_program()
    except pytest.skip.Exception as missing:
        pytest.fail(str(missing))


@pytest.mark.parametrize(
    "module",
    [
        "tensorflow", "keras", "jax", "onnxruntime", "openvino", "ai_edge_litert", "nilearn",
        "tf2onnx", "tensorrt_rtx", "tritonclient", "pydicom", "pynetdicom", "highdicom",
        "matplotlib", "openpyxl", "sklearn", "statsmodels", "jsonschema", "playwright", "dcmqi",
        "pypdfium2",
    ],
)  # fmt: skip
def test_declared_extras_are_installed(module: str) -> None:
    assert importlib.util.find_spec(module), f"{module}: the dev extra should have installed it"
