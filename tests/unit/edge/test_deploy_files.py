"""What lies in deploy/edge fits the program: settings, unit, PACS of the demo, README."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.edge.config import EdgeConfig, load_config

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy" / "edge"
UNIT = FOLDER / "cmbnet-edge.service"


def test_the_example_settings_are_taken_and_local() -> None:
    config = load_config(FOLDER / "node.yaml")
    assert config.listen.host == config.watch.host == "127.0.0.1"
    assert config.root == Path("/var/lib/cmbnet")


def test_what_the_example_calls_a_default_is_one() -> None:
    """Lines after a # are the defaults; the rest states some of them, too."""
    text = (FOLDER / "node.yaml").read_text()
    commented = dict(re.findall(r"^  +# (\w+): ([\w.]+) *(?:#.*)?$", text, re.MULTILINE))
    known: dict[str, object] = {}
    for section in ("listen", "storage", "settle", "worker"):
        fields = EdgeConfig.model_fields[section].annotation
        assert fields is not None
        known |= {name: field.default for name, field in fields.model_fields.items()}
    for name in ("max_associations", "max_object_mb", "backend"):
        assert str(known[name]) == commented[name]
    assert float(str(known["timeout_s"])) == 300  # of the worker; that of `listen` is 60
    for name in ("settle_s", "patience_s", "reserve_mb", "keep_days", "memory_mb", "tries"):
        (stated,) = re.findall(rf"^  {name}: (\d+)", text, re.MULTILINE)
        assert float(stated) == float(str(known[name])), name


def test_the_pacs_of_the_demo_knows_the_node() -> None:
    pacs = json.loads((FOLDER / "orthanc.json").read_text())
    config = load_config(FOLDER / "node.yaml")
    (destination,) = config.destinations
    assert (pacs["DicomAet"], pacs["DicomPort"]) == (destination.ae_title, destination.port)
    node = pacs["DicomModalities"]["node"]
    assert (node["AET"], node["Port"]) == (config.ae_title, config.listen.port)
    assert pacs["RemoteAccessAllowed"] is False


def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(UNIT)
    return parsed


def test_the_unit_runs_the_node_on_the_files_of_the_readme() -> None:
    service = unit()["Service"]
    program, *arguments = service["ExecStart"].split()
    readme = (FOLDER / "README.md").read_text()
    assert program in readme
    assert arguments == ["edge", "run", "/etc/cmbnet/node.yaml"]
    assert Path("/var/lib") / service["StateDirectory"] == load_config(FOLDER / "node.yaml").root


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    # It asks whether the program exists; on this machine another one does.
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/cmbnet/bin/cmbnet", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    exposure = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", copy],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert exposure.returncode == 0, exposure.stdout[-300:]


@pytest.mark.parametrize("name", ["README.md", "node.yaml", "cmbnet-edge.service", "Dockerfile"])
def test_every_file_says_what_it_is_not_for(name: str) -> None:
    assert RESEARCH_USE_ONLY in (FOLDER / name).read_text().replace("**", "")


def test_the_demo_says_what_it_needs(tmp_path: Path) -> None:
    """One line where Orthanc is not installed."""
    code = (
        "import sys; sys.path.insert(0, 'deploy/edge'); import demo; "
        "demo.PLUGIN = demo.Path('/nowhere'); demo.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "Orthanc is needed: sudo apt install orthanc orthanc-dicomweb\n"
