import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmbnet.errors import UsageError
from cmbnet.slices import (
    STRIDE,
    SliceContext,
    brain_box,
    make_stacks,
    neighbour_indices,
    runs_of_slices,
)


@pytest.mark.parametrize(
    ("context", "spacing_mm", "offset"),
    [
        (SliceContext(), 0.8, 1),
        (SliceContext(), 5.0, 1),
        (SliceContext(target_mm=2.0), 0.5, 4),
        (SliceContext(target_mm=2.0), 0.8, 3),  # 1.6 and 2.4 are as near: the farther
        (SliceContext(target_mm=2.0), 1.0, 2),
        (SliceContext(target_mm=2.0), 1.5, 1),
        (SliceContext(target_mm=2.0), 2.0, 1),
        (SliceContext(target_mm=2.0), 5.0, 1),  # never the middle slice itself
    ],
)
def test_offsets(context: SliceContext, spacing_mm: float, offset: int) -> None:
    assert context.offset(spacing_mm) == offset


def test_edges_replicate() -> None:
    assert neighbour_indices(1, 2.0, SliceContext()).tolist() == [[0, 0, 0]]
    assert neighbour_indices(4, 1.0, SliceContext(target_mm=2.0)).tolist() == [
        [0, 0, 2],
        [0, 1, 3],
        [0, 2, 3],
        [1, 3, 3],
    ]


def test_stacks_hold_below_middle_above() -> None:
    image = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    stacks = make_stacks(image, [0, 2], spacing_z_mm=2.0, context=SliceContext())
    assert stacks.shape == (2, 2, 3, 3)
    assert stacks.dtype == np.float32
    assert stacks.flags["C_CONTIGUOUS"]
    assert stacks[0, 0, 0].tolist() == [0, 0, 1]
    assert stacks[1, 1, 2].tolist() == [1, 2, 3]


@pytest.mark.parametrize("distance_mm", [0.0, -1.0, 100.0])
def test_wrong_contexts_are_refused(distance_mm: float) -> None:
    with pytest.raises(UsageError, match=r"target_mm must be in 0\.\.100"):
        SliceContext(distance_mm)


def test_nonsense_geometry_is_refused() -> None:
    with pytest.raises(UsageError, match="positive spacing"):
        neighbour_indices(3, 0.0, SliceContext())
    with pytest.raises(UsageError, match="positive spacing"):
        neighbour_indices(0, 1.0, SliceContext())


def brain_at(y: slice, x: slice, *, shape: tuple[int, int, int] = (6, 64, 48)) -> np.ndarray:
    brain = np.zeros(shape, bool)
    brain[2:5, y, x] = True
    return brain


def test_smallest_shape_that_holds_the_brain() -> None:
    brain = brain_at(slice(20, 36), slice(10, 22))
    box = brain_box(brain, shapes=[(64, 48), (32, 24), (24, 16)], margin_pixels=4)
    assert box.slices.tolist() == [2, 3, 4]
    assert box.shape == (32, 24)  # 16 + 8 rows fit 24, but 12 + 8 columns do not fit 16
    assert (box.y, box.x) == (slice(12, 44), slice(4, 28))
    assert box.crop(brain).sum() == brain.sum()


def test_whole_frame_when_nothing_smaller_holds() -> None:
    brain = brain_at(slice(2, 60), slice(2, 46))
    box = brain_box(brain, shapes=[(64, 48), (32, 24)])
    assert (box.y, box.x) == (slice(0, 64), slice(0, 48))


def test_crop_stays_inside_the_frame_at_a_corner() -> None:
    brain = brain_at(slice(50, 64), slice(0, 5))
    box = brain_box(brain, shapes=[(32, 24), (64, 48)], margin_pixels=8)
    assert (box.y, box.x) == (slice(32, 64), slice(0, 24))
    assert box.crop(brain).sum() == brain.sum()


def test_any_multiple_when_shapes_are_free() -> None:
    box = brain_box(brain_at(slice(20, 37), slice(10, 22)), multiple=8, margin_pixels=2)
    assert box.shape == (24, 16)


def test_no_brain_no_slices() -> None:
    box = brain_box(np.zeros((6, 64, 48), bool), shapes=[(32, 24)])
    assert box.slices.size == 0
    assert box.shape == (64, 48)


def test_shape_that_cannot_hold_the_brain_is_refused() -> None:
    with pytest.raises(UsageError, match=r"at least \(62, 48\) within the frame \(64, 48\)"):
        brain_box(brain_at(slice(2, 60), slice(2, 46)), shapes=[(32, 24)], margin_pixels=2)


def test_each_run_of_slices_has_the_smallest_crop_on_the_grid_of_the_box() -> None:
    brain = np.zeros((7, 96, 96), bool)
    brain[1:3, 40:50, 30:38] = True
    brain[3:5, 10:80, 12:70] = True
    brain[5, 30:45, 20:30] = True
    shapes = [(32, 32), (96, 80)]
    box = brain_box(brain, shapes=shapes)
    assert (box.y, box.x) == (slice(0, 96), slice(1, 81))
    runs = runs_of_slices(brain, box, shapes=shapes)
    assert [run.slices.tolist() for run in runs] == [[1, 2], [3, 4], [5]]
    assert [run.shape for run in runs] == [(32, 32), (96, 80), (32, 32)]
    # Centred, the small crops would begin at (29, 18) and (21, 9).
    assert [(run.y.start, run.x.start) for run in runs] == [(32, 17), (0, 1), (24, 9)]


def test_slices_of_one_shape_that_lie_apart_share_a_larger_crop() -> None:
    brain = np.zeros((2, 96, 96), bool)
    brain[0, 20:30, 20:30] = True
    brain[1, 60:70, 60:70] = True
    shapes = [(32, 32), (96, 96)]
    (run,) = runs_of_slices(brain, brain_box(brain, shapes=shapes), shapes=shapes)
    assert (run.slices.tolist(), run.shape) == ([0, 1], (96, 96))


@given(
    blobs=st.lists(
        st.tuples(st.integers(0, 90), st.integers(1, 60), st.integers(0, 80), st.integers(1, 60)),
        min_size=1,
        max_size=6,
    )
)
def test_runs_hold_all_of_the_brain_with_a_margin(blobs: list[tuple[int, int, int, int]]) -> None:
    brain = np.zeros((len(blobs), 96, 88), bool)
    for z, (y, height, x, width) in enumerate(blobs):
        brain[z, y : y + height, x : x + width] = True
    shapes = [(24, 24), (48, 40), (64, 64), (96, 88)]
    box = brain_box(brain, shapes=shapes)
    runs = runs_of_slices(brain, box, shapes=shapes)
    assert np.concatenate([run.slices for run in runs]).tolist() == box.slices.tolist()
    for run in runs:
        assert run.shape in shapes
        for part, whole, axis in ((run.y, box.y, 1), (run.x, box.x, 2)):
            assert whole.start <= part.start
            assert part.stop <= whole.stop
            assert (part.start - whole.start) % STRIDE == 0
            used = np.flatnonzero(brain[run.slices].any(axis=(0, 3 - axis)))
            assert part.start <= max(used[0] - STRIDE // 2, whole.start)
            assert part.stop >= min(used[-1] + 1 + STRIDE // 2, whole.stop)
