"""When a study is looked at, by a clock that the test turns."""

from __future__ import annotations

import pytest

from cmbnet.edge.config import SettleSettings
from cmbnet.edge.deliver import Backoff
from cmbnet.edge.settle import SettleTimer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settle(clock: Clock) -> SettleTimer:
    return SettleTimer(SettleSettings(settle_s=30, patience_s=300), clock)


def test_silence_begins_again_with_every_image(settle: SettleTimer, clock: Clock) -> None:
    for _ in range(5):
        settle.arrived("a")
        clock.now += 29.9
        assert settle.due() == []
    clock.now += 0.2
    assert settle.due() == ["a"]
    assert settle.due() == [], "named once"


def test_studies_settle_each_for_itself(settle: SettleTimer, clock: Clock) -> None:
    settle.arrived("late")
    clock.now += 10
    settle.arrived("a")
    clock.now += 10
    settle.arrived("late")
    clock.now += 20
    assert settle.due() == ["a"]
    clock.now += 10
    assert settle.due() == ["late"]


def test_gaps_are_given_time_from_the_last_image_on(settle: SettleTimer, clock: Clock) -> None:
    settle.arrived("a")
    clock.now += 30
    assert settle.due() == ["a"]
    assert not settle.patience_over("a")
    settle.incomplete("a")
    clock.now += 269
    assert settle.due() == []
    clock.now += 1
    assert settle.due() == ["a"]
    assert settle.patience_over("a")


def test_an_image_that_may_fill_the_gap_ends_the_longer_silence(
    settle: SettleTimer, clock: Clock
) -> None:
    settle.arrived("a")
    clock.now += 30
    settle.due()
    settle.incomplete("a")
    clock.now += 60
    settle.arrived("a")
    clock.now += 30
    assert settle.due() == ["a"]
    assert not settle.patience_over("a")


def test_a_result_does_not_forget_an_image_that_came_since(
    settle: SettleTimer, clock: Clock
) -> None:
    settle.arrived("a")
    clock.now += 30
    settle.due()
    settle.arrived("a")
    settle.forget("a")
    clock.now += 30
    assert settle.due() == ["a"]


def test_nobody_is_left_waiting_for_ever(settle: SettleTimer, clock: Clock) -> None:
    settle.ensure("restarted")
    clock.now += 20
    settle.ensure("restarted")  # does not begin again
    clock.now += 10
    assert settle.due() == ["restarted"]
    settle.ensure("restarted")  # nobody waits for it any more
    clock.now += 30
    assert settle.due() == ["restarted"]


def test_waits_double_up_to_the_longest(clock: Clock) -> None:
    backoff = Backoff(5, 60, clock)
    assert backoff.due("pacs")
    assert [backoff.failed("pacs") for _ in range(6)] == [5, 10, 20, 40, 60, 60]
    assert not backoff.due("pacs")
    assert backoff.due("archive"), "one destination does not hold up another"
    clock.now += 60
    assert backoff.due("pacs")
    backoff.succeeded("pacs")
    assert backoff.failed("pacs") == 5


def test_to_hold_is_no_failure(clock: Clock) -> None:
    backoff = Backoff(5, 60, clock)
    backoff.hold("pacs", 300)
    clock.now += 299
    assert not backoff.due("pacs")
    clock.now += 1
    assert backoff.due("pacs")
    assert backoff.failed("pacs") == 5
