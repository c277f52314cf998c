from __future__ import annotations

import pytest

from cmbnet.followup.changes import Change, Elsewhere, Look, Spot, compare_lesions
from cmbnet.followup.comparison import track
from cmbnet.followup.grade import Protocol, aria_h, sizes_comparable, why_not_comparable


def spot(number: int, x: float, diameter: float = 3.0, volume: float = 14.0) -> Spot:
    return Spot(number, (x, 0.0, 0.0), diameter, volume)


NOTHING = Elsewhere(darkness=0.0)


def sees(there: Elsewhere | None) -> Look:
    def look(_: Spot) -> Elsewhere | None:
        return there

    return look


def changes(
    before: list[Spot],
    after: list[Spot],
    *,
    seen_before: Elsewhere | None = NOTHING,
    seen_after: Elsewhere | None = NOTHING,
    comparable: bool = True,
) -> tuple[Change, ...]:
    return compare_lesions(
        before, after, look_before=sees(seen_before), look_after=sees(seen_after),
        sizes_comparable=comparable,
    )  # fmt: skip


def said(found: tuple[Change, ...]) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    return [(one.category, one.before, one.after) for one in found]


def test_nothing_to_compare() -> None:
    assert changes([], []) == ()


@pytest.mark.parametrize(("apart", "same"), [(2.9, True), (3.0, True), (3.1, False)])
def test_centres_within_3_mm_are_one_lesion(apart: float, same: bool) -> None:
    found = said(changes([spot(1, 0)], [spot(5, apart)]))
    if same:
        assert found == [("persistent", (1,), (5,))]
    else:
        assert found == [("new", (), (5,)), ("no longer seen", (1,), ())]


def test_a_large_lesion_reaches_as_far_as_its_radius() -> None:
    found = said(changes([spot(1, 0, diameter=9.0)], [spot(1, 4.4, diameter=9.0)]))
    assert found == [("persistent", (1,), (1,))]


def test_neighbours_keep_their_partners() -> None:
    """The nearest pair alone would leave the outer two without a partner."""
    before = [spot(1, 0.0), spot(2, 2.5)]
    after = [spot(1, 2.0), spot(2, 4.5)]
    assert said(changes(before, after)) == [
        ("persistent", (1,), (1,)),
        ("persistent", (2,), (2,)),
    ]


@pytest.mark.parametrize(
    ("ratio", "category"),
    [(0.5, "smaller"), (0.51, "persistent"), (1.9, "persistent"), (2.0, "larger")],
)
def test_sizes(ratio: float, category: str) -> None:
    (found,) = changes([spot(1, 0, volume=20)], [spot(1, 0, volume=20 * ratio)])
    assert found.category == category
    assert found.volume_ratio == pytest.approx(ratio)
    (found,) = changes([spot(1, 0, volume=20)], [spot(1, 0, volume=20 * ratio)], comparable=False)
    assert (found.category, found.volume_ratio) == ("persistent", None)


@pytest.mark.parametrize(
    ("there", "later", "earlier"),
    [
        (Elsewhere(0.59), "new", "no longer seen"),
        (Elsewhere(0.6), "newly above threshold", "no longer above threshold"),
        (Elsewhere(0.0, probability=0.2), "newly above threshold", "no longer above threshold"),
        (None, "not assessable", "not assessable"),
    ],
)
def test_what_the_other_scan_shows_decides(
    there: Elsewhere | None, later: str, earlier: str
) -> None:
    for found, category in (
        (changes([], [spot(3, 0)], seen_before=there), later),
        (changes([spot(3, 0)], [], seen_after=there), earlier),
    ):
        (one,) = found
        assert one.category == category
        known = None if there is None else there.darkness
        assert one.other_darkness == known
        assert one.other_probability == (None if there is None else there.probability)


def test_one_that_became_two_is_split_and_not_new() -> None:
    before = [spot(1, 0, diameter=8.0, volume=60)]
    after = [spot(1, -2, diameter=3.0, volume=20), spot(2, 3, diameter=3.0, volume=20)]
    (found,) = changes(before, after)
    assert (found.category, found.before, found.after) == ("split", (1,), (1, 2))
    assert found.volume_ratio == pytest.approx(40 / 60)


def test_two_that_became_one_are_merged_and_not_lost() -> None:
    after = [spot(4, 0, diameter=8.0)]
    before = [spot(1, -2), spot(2, 3)]
    assert said(changes(before, after)) == [("merged", (1, 2), (4,))]


def test_a_new_lesion_beside_a_small_one_is_new() -> None:
    before = [spot(1, 0, diameter=2.5)]
    after = [spot(1, 0.5, diameter=2.5), spot(2, 2.5, diameter=2.5)]
    assert said(changes(before, after)) == [("persistent", (1,), (1,)), ("new", (), (2,))]


def tracks(*scans: list[Spot]) -> list[tuple[int | None, ...]]:
    first, *later = scans
    found = track(scans, [changes(first, one) for one in later])
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    return [one.lesions for one in found]


def test_lesions_keep_their_number_over_three_scans() -> None:
    """One stays, one is lost and comes back, one is new at once and one later."""
    found = tracks(
        [spot(1, 0), spot(2, 20)],
        [spot(1, 40), spot(2, 0.5)],
        [spot(1, 60), spot(2, 20.5), spot(3, 40.5), spot(4, 0)],
    )
    assert found == [(1, 2, 4), (2, None, 2), (None, 1, 3), (None, None, 1)]


def test_a_part_of_a_split_lesion_is_followed_on_its_own() -> None:
    whole = [spot(1, 0, diameter=8.0)]
    parts = [spot(1, -2), spot(2, 3)]
    assert tracks(whole, parts, parts) == [(1, 1, 1), (None, 2, 2)]


@pytest.mark.parametrize(
    ("new", "category"),
    [(0, "none"), (1, "mild"), (4, "mild"), (5, "moderate"), (9, "moderate"), (10, "severe")],
)
def test_categories(new: int, category: str) -> None:
    assert aria_h(new, uncertain=2, not_assessable=0, baseline=0).category == category


@pytest.mark.parametrize(("count", "band"), [(0, "0"), (1, "1-4"), (4, "1-4"), (5, "> 4")])
def test_bands_of_the_baseline(count: int, band: str) -> None:
    assert aria_h(0, uncertain=0, not_assessable=0, baseline=count).baseline_band == band


SWI = Protocol((0.6, 0.6, 2.0), 3.0, 20.0, "SWI")


@pytest.mark.parametrize(
    ("other", "reason", "sizes"),
    [
        (SWI, "", True),
        (Protocol((0.6, 0.65, 2.1), 2.9, 21.5, "SWI"), "", True),
        (
            Protocol((0.6, 0.6, 2.0), 1.5, 20.0, "SWI"),
            "the field strength differs (3 and 1.5 T)",
            False,
        ),
        (Protocol((0.6, 0.6, 2.0), 3.0, 30.0, "SWI"), "", False),
        (Protocol((0.6, 0.6, 4.0), 3.0, 20.0, "SWI"), "", False),
        (Protocol((0.6, 0.6, 2.0), 3.0, 20.0, "T2*"), "the sequence differs (SWI and T2*)", True),
        (Protocol((0.6, 0.6, 2.0)), "the field strength is unknown; the sequence is unknown", True),
    ],
)  # fmt: skip
def test_what_can_be_compared(other: Protocol, reason: str, sizes: bool) -> None:
    assert why_not_comparable(SWI, other) == (f"no category: {reason}" if reason else "")
    assert sizes_comparable(SWI, other) is sizes


def test_a_refused_category_keeps_the_counts() -> None:
    found = aria_h(6, uncertain=1, not_assessable=2, baseline=3, refused="no category: x")
    assert (found.category, found.new, found.uncertain, found.not_assessable) == (None, 6, 1, 2)
    assert "siderosis: not assessed" in found.note
