"""pydicom is loaded when DICOM is read, and only then."""

from __future__ import annotations

import subprocess
import sys

BLOCK = """
import importlib.machinery, sys
class Block(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split('.')[0] in {'pydicom', 'highdicom'}:
            return None
        return super().find_spec(name, path, target)
sys.meta_path = [Block if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_reading_nifti_imports_no_pydicom() -> None:
    loaded = run(
        "import cmbnet, cmbnet.io, cmbnet.io.detect, cmbnet.predict, cmbnet.cli.dicom, sys;"
        "print([n for n in ('pydicom', 'highdicom', 'gdcm') if n in sys.modules])"
    )
    assert loaded == "[]"


def test_reading_dicom_imports_no_highdicom() -> None:
    assert run("import cmbnet.io.dicom, sys; print('highdicom' in sys.modules)") == "False"


def test_without_the_extra_the_command_says_what_to_install() -> None:
    said = run(
        BLOCK
        + "from cmbnet.errors import MissingExtra\n"
        + "for name in ('cmbnet.io.dicom', 'cmbnet.phantom.dicom', 'cmbnet.report.dicom'):\n"
        + "    try:\n        __import__(name)\n"
        + "    except MissingExtra as error:\n        print(error)\n"
    )
    assert said.count("pip install 'cmbnet[dicom]'") == 3
