"""One command measures the deployment: a part that fails is named and does not stop the rest."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "deployment.sh"
FAKE = """#!/bin/sh
echo "ran $*"
case "$*" in
*" export default "*) echo "the parity gate failed" >&2; exit 4 ;;
*" bench "*) exit 2 ;;
esac
"""


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Status, what was printed and what was complained of, with a stand-in for Python."""
    python = folder / "bin" / "python"
    python.parent.mkdir(exist_ok=True)
    python.write_text(FAKE, encoding="utf-8")
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(SCRIPT), str(folder / "work"), *arguments],
        env={**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_all_parts_run_and_what_failed_is_named(tmp_path: Path) -> None:
    status, printed, complaints = run(tmp_path, "default", "--parity-cases", "1")
    assert status == 1
    assert complaints.splitlines()[-1] == "failed: export.txt bench.txt"
    work = tmp_path / "work"
    exported = (work / "export.txt").read_text(encoding="utf-8")
    assert exported.rstrip().endswith("--parity-cases 1"), "options go to the export"
    assert f"--triton {work / 'triton'}" in (work / "repository.txt").read_text(encoding="utf-8")
    for part in ("cold.md", "bench.txt", "triton.md", "engine.md"):
        assert (work / part).read_text(encoding="utf-8").startswith("ran "), part
        assert f"{part} took" in printed


def test_a_gate_that_passes_leaves_nothing_to_repair(tmp_path: Path) -> None:
    (tmp_path / "work" / "triton").mkdir(parents=True)
    status, _, complaints = run(tmp_path, "another")
    assert complaints.splitlines()[-1] == "failed: bench.txt"
    assert status == 1
    assert not (tmp_path / "work" / "repository.txt").exists()
