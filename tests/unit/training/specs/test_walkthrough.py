"""The commands of "Your own BIDS folder" in training/README.md, run on tiny phantoms."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cmbnet.cli import group
from cmbnet.training.data.cache_index import read_index

ROOT = Path(__file__).parents[4]

RECIPE = """
name: tiny
model: {preset: small, channels: [4, 4, 8, 8]}
sampling: {crop_px: 32, batch_size: 2, shift_px: 8}
stop: {epochs: 1, steps_per_epoch: 2}
validation: {slices: 4}
"""


def commands() -> list[list[str]]:
    """The shell lines of the section."""
    text = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
    section = text.split("## Your own BIDS folder")[1].split("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line) for line in block.splitlines()]


def test_a_lab_can_follow_it(bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    places = {"/data/bids": str(bids), "training/recipes/cpu.yaml": "recipe.yaml"}
    done = []
    for program, *arguments in commands():
        words = [places.get(word, word) for word in arguments]
        done.append(words[0])
        if program == "cp":
            shutil.copy(ROOT / words[0], tmp_path / words[1])
            continue
        assert program == "cmbnet"
        # One process each would start TensorFlow or numpy again.
        words = ["1" if before == "--jobs" else word
                 for before, word in zip(["", *words], words, strict=False)]  # fmt: skip
        result = CliRunner().invoke(group, words, env={"COLUMNS": "160"})
        assert result.exception is None, f"{words}: {result.output}{result.exception!r}"
    assert done == ["data_specs/bids.yaml", "check-data", "prepare", "train"]
    assert (tmp_path / "check.json").is_file()
    assert set(read_index(tmp_path / "cache").splits) == {"training", "validation"}
    assert (tmp_path / "runs" / "lab" / "best.keras").is_file()
    shutil.rmtree(tmp_path / "runs")
