from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import children_of, running, wait_until


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads who started whom in /proc")
def test_no_process_outlives_a_kill_of_the_cohort(tmp_path: Path) -> None:
    arguments = ["--positives", "60", "--anatomy", "procedural", "--cases-per-head", "1",
                 "--jobs", "2"]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "cmbnet", "phantom", "-o", tmp_path, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    ) as process:
        wait_until(lambda: any(tmp_path.glob("cases/*.json")) or process.poll() is not None)
        assert process.poll() is None, "it ended before it could be killed"
        started = children_of(process.pid)
        process.kill()
    assert len(started) >= 2
    wait_until(lambda: not any(running(pid) for pid in started), timeout_s=30.0)
    assert not (tmp_path / "cases.csv").exists()
