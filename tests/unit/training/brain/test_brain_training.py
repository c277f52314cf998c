from pathlib import Path

import numpy as np
import pytest

from cmbnet.preprocess.brain_network import grouped, network_cells
from cmbnet.training.brain import heads as heads_module
from cmbnet.training.brain.fit import BrainTraining, train_brain
from cmbnet.training.brain.heads import GRID, IN_BRAIN, IN_HULL, Label, LabelHead, draw_head
from cmbnet.training.brain.scans import LABEL_BITS, draw_scan


@pytest.fixture(scope="module")
def head() -> LabelHead:
    return draw_head("procedural", 3)


def test_a_seed_is_a_head(head: LabelHead) -> None:
    np.testing.assert_array_equal(draw_head("procedural", 3).codes, head.codes)
    assert (draw_head("procedural", 4).codes != head.codes).any()


def test_a_head_is_brain_in_bone_in_skin(head: LabelHead) -> None:
    labels = head.codes & LABEL_BITS
    brain, hull = head.codes & IN_BRAIN > 0, head.codes & IN_HULL > 0
    ml = np.prod(GRID.spacing_mm) / 1000
    assert 700 < brain.sum() * ml < hull.sum() * ml < 2000
    assert not np.isin(labels[brain], (Label.BONE, Label.SINUS, Label.FAT, Label.AIR)).any()
    for label in (Label.SINUS, Label.DURA, Label.BONE, Label.MARROW, Label.FAT, Label.EYE):
        assert (labels == label).sum() * ml > 1, label


def test_scans_lie_on_the_grid_of_the_network(head: LabelHead) -> None:
    for seed in range(12):
        scan = draw_scan(head, np.random.default_rng(seed))
        cells = network_cells(scan.image, scan.spacing_mm)
        assert cells.shape == scan.brain.shape
        assert np.isfinite(cells).all()
        again = draw_scan(head, np.random.default_rng(seed))
        np.testing.assert_array_equal(again.image, scan.image)


def test_truth_and_scan_show_the_same_brain(
    head: LabelHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With bright what dura encloses, and nothing random, cells and truth agree."""
    from cmbnet.training.brain import scans

    shown = (*heads_module.BRAIN, Label.FLUID, Label.VEIN, Label.DURA)
    levels = np.isin(np.arange(heads_module.N_LABELS), shown).astype(np.float32)
    monkeypatch.setattr(scans, "_contrast", lambda labels, _: levels[labels])
    for name in ("_spots", "_drop_out", "_cut_away"):
        monkeypatch.setattr(scans, name, lambda *_: None)
    monkeypatch.setattr(scans, "_received", lambda slices, *_: slices)
    for seed in range(6):
        scan = draw_scan(head, np.random.default_rng(seed))
        mask = network_cells(scan.image, scan.spacing_mm) >= 0.5
        dice = 2 * (mask & scan.brain).sum() / (mask.sum() + scan.brain.sum())
        assert dice > 0.9


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    lines: list[str] = []
    train_brain(tmp_path, BrainTraining(steps=2, heads=1), report=lines.append)
    network, file = train_brain(tmp_path, BrainTraining(steps=3, heads=1), report=lines.append)
    assert lines[-1] == "goes on after step 2"
    interpreter = Interpreter(model_path=str(file))
    (source,), (answer,) = interpreter.get_input_details(), interpreter.get_output_details()
    for shape in ((12, 40, 36), (30, 64, 48)):
        groups = grouped(np.random.default_rng(0).random(shape, np.float32))
        interpreter.resize_tensor_input(source["index"], groups.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source["index"], groups)
        interpreter.invoke()
        share = interpreter.get_tensor(answer["index"])
        expected = network.predict(groups, batch_size=len(groups), verbose=0)
        np.testing.assert_allclose(share, expected, atol=2e-3)
