import threading
from collections.abc import Iterator
from functools import partial

import pytest

from cmbnet import threads
from cmbnet.threads import Steps, finished, in_slabs, in_stages, in_threads, processors


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


def test_stages_of_neighbours_overlap_and_results_keep_their_order() -> None:
    meeting = threading.Barrier(3)  # passes only if three works are in three stages at once

    def work(number: int) -> Steps[int]:
        if number == 2:
            meeting.wait(10)
        yield
        if number == 1:
            meeting.wait(10)
        yield
        if number == 0:
            meeting.wait(10)
        return number

    assert list(in_stages(map(work, range(6)), stages=3)) == list(range(6))


def test_a_work_may_end_early_and_no_more_are_begun_than_there_are_stages() -> None:
    begun = []

    def work(number: int) -> Steps[int]:
        if number % 2:
            return number
        yield
        return number

    def works() -> Iterator[Steps[int]]:
        for number in range(6):
            begun.append(number)
            yield work(number)

    running = in_stages(works(), stages=2)
    assert next(running) == 0
    assert begun == [0, 1, 2]
    assert list(running) == [1, 2, 3, 4, 5]
    assert [finished(work(number)) for number in (1, 2)] == [1, 2]


@pytest.mark.parametrize("stage", [1, 2])
def test_what_a_stage_raises_is_raised_after_the_results_before_it(stage: int) -> None:
    def work(number: int) -> Steps[int]:
        if (number, stage) == (2, 1):
            raise ValueError("scan 2 is broken")
        yield
        if (number, stage) == (2, 2):
            raise ValueError("scan 2 is broken")
        return number

    running = in_stages(map(work, range(5)), stages=2)
    assert [next(running), next(running)] == [0, 1]
    with pytest.raises(ValueError, match="scan 2 is broken"):
        next(running)


def test_nothing_begins_after_the_caller_has_stopped() -> None:
    done = []

    def work(number: int) -> Steps[int]:
        yield
        done.append(number)
        return number

    running = in_stages(map(work, range(100)), stages=2)
    next(running)
    running.close()  # type: ignore[attr-defined]
    count = len(done)
    assert count <= 3
    assert not [one for one in threading.enumerate() if one.name.startswith("stage-")]
