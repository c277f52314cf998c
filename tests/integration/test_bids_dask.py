"""``cmbnet bids --dask`` with a real scheduler and real workers, which die."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cmbnet.bundle import Bundle, load_bundle
from tests.helpers.bids_tree import add_scan, describe

pytest.importorskip("distributed", reason="distributed is not installed (the extra dask)")

CASES = 24
FEW = ("--participant-label", "00", "01", "02", "03", "04", "05")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many subjects with the same scan."""
    root = describe(tmp_path_factory.mktemp("dask") / "raw")
    scan = add_scan(root, "sub-00/anat/sub-00_swi.nii.gz")
    for n in range(1, CASES):
        link = root / f"sub-{n:02}/anat/sub-{n:02}_swi.nii.gz"
        link.parent.mkdir(parents=True)
        link.hardlink_to(scan)
    return root


@contextmanager
def program(
    *words: str, cwd: Path | None = None, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """A process of this Python that is killed at the end."""
    running = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | environment, cwd=cwd,
    )  # fmt: skip
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


@contextmanager
def scheduler(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A scheduler on a free port of this machine."""
    file = tmp_path / "scheduler.json"
    words = ("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0")
    with program(*words, "--no-dashboard", "--scheduler-file", str(file)) as running:
        while True:
            try:
                yield json.loads(file.read_text())["address"], running
                return
            except (FileNotFoundError, json.JSONDecodeError):
                assert running.poll() is None


def worker(address: str, tmp_path: Path) -> list[str]:
    return [
        "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1",
        "--no-dashboard", "--local-directory", str(tmp_path / "scratch"),
    ]  # fmt: skip


def call(raw: Path, out: Path, bundle: Bundle, *words: str) -> list[str]:
    return [
        "-m", "cmbnet", "bids", str(raw), str(out), "participant", "--json-lines", "--model",
        str(bundle.path), *words,
    ]  # fmt: skip


def test_a_worker_that_is_killed_loses_and_doubles_nothing(
    raw: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with (
        scheduler(tmp_path) as (address, _),
        program(*worker(address, tmp_path)) as first,
        program(*worker(address, tmp_path)) as second,
        program(*call(raw, out, tiny_bundle, "--dask", address)) as run,
    ):
        assert run.stdout is not None
        lines = [run.stdout.readline() for _ in range(4)]
        assert first.poll() is None
        first.send_signal(signal.SIGKILL)
        rest, said = run.communicate(timeout=300)
        assert second.poll() is None
    records = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    assert run.returncode == 0, said
    assert sorted(one["case"] for one in records) == [f"sub-{n:02}_swi" for n in range(CASES)]
    assert {(one["status"], one["row"]["lesions"]) for one in records} == {("done", 3)}
    assert len(list(out.glob("sub-*/anat/*_mask.nii.gz"))) == CASES
    assert len(list(out.glob("cases/*/case.json"))) == CASES
    again = subprocess.run(
        [sys.executable, *call(raw, out, tiny_bundle)], capture_output=True, text=True, timeout=300
    )
    assert sorted(again.stdout.splitlines()) == sorted([*map(str.strip, lines), *rest.splitlines()])


def test_workers_of_this_machine_load_the_model_once(
    raw: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    few = ("--participant-label", "00", "01", "02", "03")
    done = subprocess.run(
        [sys.executable, *call(raw, tmp_path, tiny_bundle, "--dask", "local", "--jobs", "2", *few)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    result = json.loads((tmp_path / "cases/sub-00_swi/result.json").read_text())
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert result["model"]["threads"] == share


def test_a_scheduler_that_goes_away_is_one_line(
    raw: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with (
        scheduler(tmp_path) as (address, running),
        program(*worker(address, tmp_path)),
        program(
            *call(raw, out, tiny_bundle, "--dask", address),
            DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="2s",
        ) as run,
    ):
        assert run.stdout is not None
        run.stdout.readline()
        running.kill()
        _, said = run.communicate(timeout=300)
    assert run.returncode == 4
    assert f"the Dask scheduler {address} went away; run again" in said
    assert "Traceback" not in said


def test_no_scheduler(raw: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *call(raw, tmp_path, tiny_bundle, "--dask", "tcp://127.0.0.1:9")],
        capture_output=True, text=True, timeout=300,
        env=os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"},
    )  # fmt: skip
    assert done.returncode == 4
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_with_other_code_is_refused(
    raw: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    package = Path(__file__).parents[2] / "cmbnet"
    other = tmp_path / "other" / "cmbnet"
    other.parent.mkdir()
    subprocess.run(["cp", "-r", str(package), str(other)], check=True)
    (other / "new.py").write_text("NEW = 1\n")
    few = ("--participant-label", "00")
    with (
        scheduler(tmp_path) as (address, _),
        program(*worker(address, tmp_path), cwd=other.parent),
        program(*call(raw, tmp_path / "out", tiny_bundle, "--dask", address, *few)) as run,
    ):
        said, _ = run.communicate(timeout=300)
    assert run.returncode == 4
    reason = json.loads(said)["reason"]
    assert reason.startswith("cmbnet 0.2.0 on the worker is not that of the run (tcp://127.0.0.1:")


@contextmanager
def worker_that_sees(
    source: str, place: Path, address: str, tmp_path: Path
) -> Iterator[subprocess.Popen[str]]:
    """A worker for which a folder has other content than for everybody else."""
    script = f'mount {source} "$0" && exec "$@"'
    words = [sys.executable, *worker(address, tmp_path)]
    alone = ["unshare", "--mount", "sh", "-c"]
    if subprocess.run([*alone, script, place, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a process cannot have mounts of its own here")
    running = subprocess.Popen(
        [*alone, script, place, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def test_a_worker_with_another_model_leaves_its_scans_to_others(
    raw: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    bundle, other = tmp_path / "bundle", tmp_path / "other"
    for folder in (bundle, other):
        shutil.copytree(tiny_bundle.path, folder)
    manifest = json.loads((other / "bundle.json").read_text())
    (other / "bundle.json").write_text(json.dumps(manifest | {"name": "another"}))
    with (
        scheduler(tmp_path) as (address, _),
        worker_that_sees(f"--bind {other}", bundle, address, tmp_path),
        program(*worker(address, tmp_path)),
        program(*call(raw, tmp_path / "out", load_bundle(bundle), "--dask", address, *FEW)) as run,
    ):
        lines, said = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert said.count(f"{bundle} on the worker is another model (tcp://127.0.0.1:") == 1
    records = [json.loads(line) for line in lines.splitlines()]
    assert sorted(one["case"] for one in records) == [f"sub-{label}_swi" for label in FEW[1:]]
    assert {one["status"] for one in records} == {"done"}


def test_a_full_disk_of_one_worker_fails_only_its_scans(
    raw: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "cases").mkdir(parents=True)
    full = "-t tmpfs -o size=16k cmbnet-test"
    with (
        scheduler(tmp_path) as (address, _),
        worker_that_sees(full, out / "cases", address, tmp_path),
        program(*worker(address, tmp_path)),
        program(*call(raw, out, tiny_bundle, "--dask", address, *FEW)) as run,
    ):
        lines, said = run.communicate(timeout=300)
    assert run.returncode == 4
    assert "Traceback" not in said
    records = [json.loads(line) for line in lines.splitlines()]
    assert sorted(one["case"] for one in records) == [f"sub-{label}_swi" for label in FEW[1:]]
    failed = [one for one in records if one["status"] == "failed"]
    assert 0 < len(failed) < len(records)
    for one in failed:
        assert one["reason"].startswith(f"cannot write {out}/cases/{one['case']}/")
        assert "(No space left on device); free some space and run again" in one["reason"]
    again = subprocess.run(
        [sys.executable, *call(raw, out, tiny_bundle, *FEW)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert len(list(out.glob("sub-*/anat/*_mask.nii.gz"))) == len(records)
