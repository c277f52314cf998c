import threading
from functools import partial

import pytest

from cmbnet import threads
from cmbnet.threads import in_slabs, in_threads, processors


@pytest.fixture(params=[1, 2, 5])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(threads, "processors", lambda: request.param)
    count: int = request.param
    return count


def test_results_come_in_order(cores: int) -> None:
    assert in_threads([partial(pow, n, 2) for n in range(20)]) == [n * n for n in range(20)]
    assert in_threads([]) == []


def test_slabs_cover_every_slice_once(cores: int) -> None:
    slabs = in_slabs(lambda slab: list(range(slab.start, slab.stop)), 7, slab=3)
    assert slabs == [[0, 1, 2], [3, 4, 5], [6]]


def test_calls_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "processors", lambda: 3)
    meeting = threading.Barrier(3)  # passes only if three wait at once
    assert sorted(in_threads([partial(meeting.wait, 10)] * 3)) == [0, 1, 2]


def test_within_a_thread_of_its_own(cores: int) -> None:
    nested = in_threads([partial(in_slabs, lambda slab: slab.stop, 4)] * 6)
    assert nested == [[2, 4]] * 6


@pytest.mark.parametrize("bad", [0, 5])
def test_what_a_call_raises_is_raised(cores: int, bad: int) -> None:
    def call(number: int) -> int:
        if number == bad:
            raise ValueError("slice 5 is broken")
        return number

    with pytest.raises(ValueError, match="slice 5 is broken"):
        in_threads([partial(call, number) for number in range(6)])


def test_processors() -> None:
    assert processors() >= 1
