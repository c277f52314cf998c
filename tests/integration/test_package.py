"""The package as others get it: start-up, its wheel, and what it imports."""

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout


@pytest.mark.parametrize("module", ["cmbnet", "cmbnet.cli", "cmbnet.predict", "cmbnet.report"])
def test_nothing_heavy_is_imported_before_it_is_needed(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    imported = set(python(code).split())
    assert not imported & {"tensorflow", "keras", "matplotlib", "onnxruntime", "pydicom", "jax"}


def test_nothing_that_only_one_system_has_is_needed_to_import() -> None:
    """What only Unix has may be asked for where it is used, after the system is known."""
    only_unix = {"fcntl", "resource", "pwd", "grp", "termios", "syslog"}
    imported = {
        f"{file.name}: {name.name}"
        for file in (ROOT / "cmbnet").rglob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import)
        for name in node.names
        if name.name in only_unix
    }
    assert imported == set()


def test_import_of_the_package_brings_no_numpy() -> None:
    assert "numpy" not in python("import sys, cmbnet; print(*sys.modules)").split()


def test_version_and_help_of_the_command_line() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "cmbnet", "--help"], capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 0
    assert "predict" in shown.stdout
    assert "Not a medical device" in shown.stdout


def test_unknown_command_is_wrong_usage() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "cmbnet", "predcit"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert "predcit" in result.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Of a copy: two workers that build at once would share the checkout's build folder.
    sources = shutil.copytree(
        ROOT, folder / "sources", ignore=shutil.ignore_patterns(".*", "build", "*.egg-info")
    )
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, sources],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cmbnet"}
    assert "cmbnet/py.typed" in names


def test_the_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Unpacked alone, away from the checkout, it imports and knows its bundle."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); "
        "import cmbnet; print(cmbnet.__file__); "
        "from cmbnet.bundle import load_bundle; print(load_bundle('default').manifest.name)"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", code],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert str(tmp_path) in result.stdout.splitlines()[0]
