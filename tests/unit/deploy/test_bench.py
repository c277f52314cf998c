"""The bench counts arithmetic exactly and gives every backend its own row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet.bundle import Bundle, NewArtefact, write_bundle
from cmbnet.cli.bench import command
from cmbnet.deploy.arithmetic import multiply_adds, peak_operations_per_s
from cmbnet.deploy.bench import candidates, run_bench
from cmbnet.errors import UsageError
from cmbnet.io import write_nifti
from tests.helpers.tiny_bundle import dot_finder, litert_artefacts, spec
from tests.helpers.tiny_scan import DOTS, tiny_scan


def quiet(_: str) -> None:
    """Says nothing."""


def test_operations_are_counted_as_by_hand() -> None:
    from cmbnet.model import ModelConfig
    from cmbnet.model.unet import build_unet

    # 96 x 96 pixels, one output, 15 x 15 kernel, three inputs.
    assert multiply_adds(dot_finder(96)) == 96 * 96 * 1 * 15 * 15 * 3
    # By hand for one channel everywhere, at 8 x 8, 4 x 4, 2 x 2 and 1 x 1 pixels.
    model = build_unet(ModelConfig(channels=(1, 1, 1, 1), skip="add"), (8, 8, 3))
    stem = 64 * 27
    encoder = (64 + 16 + 4) * (9 + 9 + 1)
    down = (16 + 4 + 1) * 9
    bottleneck = 1 * (9 + 9)
    up = (64 + 16 + 4) * 9
    decoder = (64 + 16 + 4) * (9 + 9 + 1)
    assert multiply_adds(model) == stem + encoder + down + bottleneck + up + decoder + 64


def test_the_machine_computes_something() -> None:
    assert 1e7 < peak_operations_per_s(side=256, repeats=2) < 1e15


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "scan.nii.gz"
    write_nifti(tiny_scan(), path, dtype=np.float32)
    return path


def test_the_command_prints_and_writes_every_backend(
    tiny_bundle: Bundle, scan: Path, tmp_path: Path
) -> None:
    files = {name: tmp_path / f"bench.{name}" for name in ("json", "png")}
    done = CliRunner().invoke(
        command,
        [str(scan), "--model", str(tiny_bundle.path), "--threads", "1",
         "--json", str(files["json"]), "--plot", str(files["png"])],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for words in ("litert:int8", "litert:float32", "ms/slice", "Not a medical device"):
        assert words in done.output
    values = json.loads(files["json"].read_text())
    assert values["notice"].startswith("Research use only")
    assert values["scan"] == [24, 96, 96]
    rows = {row["backend"]: row for row in values["timings"]}
    assert set(rows) == {"litert:int8", "litert:float32"}
    for row in rows.values():
        assert row["lesions"] == len(DOTS)
        assert set(row["stages_ms"]) >= {"read", "prepare", "network", "lesions", "write"}
        assert row["case_ms"] == pytest.approx(sum(row["stages_ms"].values()))
        assert row["ms_per_slice"] * row["slices"] == pytest.approx(row["stages_ms"]["network"])
        assert row["first_case_ms"] > 0
        assert 50 < row["peak_mb"] < 2000
        assert row["share_of_peak"] is None, "without the network its arithmetic is not known"
    assert values["keras_predict_ms"] is None
    assert rows["litert:int8"]["artefact_kb"] < rows["litert:float32"]["artefact_kb"]
    assert files["png"].read_bytes().startswith(b"\x89PNG")


def test_with_the_network_its_share_of_the_peak_and_plain_keras_are_known(
    scan: Path, tmp_path: Path
) -> None:
    bundle = write_bundle(
        tmp_path / "bundle",
        spec=spec(),
        artefacts=[*litert_artefacts((96,)), keras_artefact(tmp_path)],
    )
    bench = run_bench(bundle, scan, threads=1, report=quiet, show=quiet)
    assert {timing.backend for timing in bench.timings} >= {"litert:float32", "keras:float32"}
    for timing in bench.timings:
        assert timing.operations == 2 * multiply_adds(dot_finder(96))
        assert timing.share_of_peak is not None
        assert timing.share_of_peak > 0
    assert bench.keras_predict_ms is not None
    assert 0 < bench.keras_predict_ms < 1000


def keras_artefact(folder: Path) -> NewArtefact:
    dot_finder(96).save(folder / "net.keras")
    return NewArtefact(
        file="model.keras",
        content=(folder / "net.keras").read_bytes(),
        kind="keras",
        precision="float32",
        shape=(1, 96, 96, 3),
    )


def test_each_row_is_shown_before_the_next_backend_runs(
    tiny_bundle: Bundle, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bench of many backends that is ended early has told what it measured."""
    lines: list[str] = []
    run_bench(tiny_bundle, scan, threads=1, report=lines.append, show=lines.append)
    heading, first, row, second, other = lines
    assert heading.splitlines()[1].split()[:2] == ["backend", "ms/slice"]
    assert (first, second) == ("timing litert:float32 ...", "timing litert:int8 ...")
    assert row.split()[0] == "litert:float32"
    assert other.split()[0] == "litert:int8"
    assert {len(heading.splitlines()[1]), len(row)} == {len(other)}
    monkeypatch.setattr("cmbnet.deploy.bench.TIMEOUT_S", 0.01)
    with pytest.raises(UsageError, match="no backend ran"):
        run_bench(tiny_bundle, scan, threads=1, report=lines.append, show=lines.append)
    assert lines[-1] == "litert:int8 did not run: it was given up after 0 s"


def test_nothing_to_run_is_said(scan: Path, tmp_path: Path) -> None:
    empty = write_bundle(tmp_path / "empty", spec=spec(), artefacts=[])
    assert candidates(empty) == []
    with pytest.raises(UsageError, match="nothing that is installed runs bundle dot-finder"):
        run_bench(empty, scan, threads=1, report=quiet, show=quiet)
