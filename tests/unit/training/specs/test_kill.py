"""kill -9 while a cache is prepared: what is left is refused, and the next run ends it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cmbnet.errors import UnreadableFile
from cmbnet.training.data.reader import Cache
from tests.helpers.processes import children_of, running, wait_until

SCRIPT = """
import os, signal, sys
from pathlib import Path

import h5py
from cmbnet.errors import UnreadableFile
from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.data import cache as builder, cache_index, cache_part
from cmbnet.training.data.reader import Cache

cohort, target = Path(sys.argv[1]), Path(sys.argv[2])
recipe = PreprocessRecipe(size=112)


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def after(calls, function):
    left = [calls]
    def counted(*args, **kwargs):
        left[0] -= 1
        return die() if left[0] < 0 else function(*args, **kwargs)
    return counted


def half(function):
    def torn(path, text):
        Path(path).with_name(".cache.json.half~").write_text(text[: len(text) // 2])
        die()
    return torn


MOMENTS = {
    "before the first byte": lambda: setattr(cache_part.h5py, "File", die),
    "in the second dataset": lambda: setattr(
        h5py.Group, "create_dataset", after(1, h5py.Group.create_dataset)),
    "before a part is synced": lambda: setattr(cache_part.os, "fsync", die),
    "before the second part has its name": lambda: setattr(
        Path, "replace", after(1, Path.replace)),
    "between the last part and the list": lambda: setattr(builder, "write_index", die),
    "in the list": lambda: setattr(
        cache_index, "write_text_atomically", half(cache_index.write_text_atomically)),
}
for moment, arm in MOMENTS.items():
    child = os.fork()
    if child == 0:
        arm()
        builder.build_cache(cohort, target, recipe=recipe)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    try:
        Cache(target)
    except UnreadableFile as error:
        print(f"{moment}|{killed}|{len(list(target.glob('*/*.h5')))}|{error}")
    else:
        print(f"{moment}|{killed}|-|taken for whole")
    if moment == "between the last part and the list":
        # A finished cache that is prepared again is no longer finished while that goes on.
        builder.build_cache(cohort, target, recipe=recipe)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, so that one start serves six kills")
def test_a_kill_at_any_moment_leaves_a_cache_that_is_refused_and_resumed(
    cohort: Path, cache: Cache, tmp_path: Path
) -> None:
    target = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(cohort), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("|") for line in done.stdout.splitlines() if line.count("|") >= 3]
    assert len(lines) == 6, done.stdout
    parts = []
    for moment, killed, count, said in lines:
        assert killed == "True", moment
        assert "is not finished" in said or "a training cache is required" in said, moment
        parts.append(int(count))
    assert parts == [0, 0, 0, 1, 3, 3]

    from cmbnet.preprocess import PreprocessRecipe
    from cmbnet.training.data.cache import build_cache

    result = build_cache(cohort, target, recipe=PreprocessRecipe(size=112))
    assert (result.cases, result.kept) == (("case-a", "case-b", "control"), 3)
    for one, other in zip(Cache(target).cases, cache.cases, strict=True):
        assert (one.image == other.image).all()
        assert (one.marks == other.marks).all()
    assert not list(target.rglob(".*.tmp"))


PARALLEL = """
import sys
from pathlib import Path

from cmbnet.preprocess import PreprocessRecipe
from cmbnet.training.data.cache import build_cache

if __name__ == "__main__":
    build_cache(
        Path(sys.argv[1]), Path(sys.argv[2]), recipe=PreprocessRecipe(size=112), jobs=2)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads who started whom in /proc")
def test_no_process_outlives_a_kill(cohort: Path, tmp_path: Path) -> None:
    for kind in ("images", "lesions"):
        (tmp_path / "c" / kind).mkdir(parents=True)
        for number in range(12):  # enough that it cannot end between two looks
            source = (cohort / kind / "case-a.nii.gz").resolve()
            (tmp_path / "c" / kind / f"case-{number}.nii.gz").symlink_to(source)
    (tmp_path / "p.py").write_text(PARALLEL)
    with subprocess.Popen(
        [sys.executable, tmp_path / "p.py", tmp_path / "c", tmp_path / "cache"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
    ) as process:
        wait_until(lambda: any((tmp_path / "cache").glob("*/*.h5")) or process.poll() is not None)
        assert process.poll() is None, "it ended before it could be killed"
        started = children_of(process.pid)
        process.kill()
    assert len(started) >= 2
    wait_until(lambda: not any(running(pid) for pid in started))
    with pytest.raises(UnreadableFile, match="is not finished"):
        Cache(tmp_path / "cache")
