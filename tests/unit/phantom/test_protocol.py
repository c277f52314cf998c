from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmbnet.errors import UsageError
from cmbnet.phantom.protocol import PROTOCOL_SETS, TINY, draw_protocol


def test_sets_share_no_family() -> None:
    names = [family.name for group in PROTOCOL_SETS.values() for family in group]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", sorted(PROTOCOL_SETS))
def test_drawn_protocols_lie_within_their_family(name: str) -> None:
    families = {family.name: family for family in PROTOCOL_SETS[name]}
    rng = np.random.default_rng(0)
    drawn = [draw_protocol(name, rng) for _ in range(120)]
    for protocol in drawn:
        family = families[protocol.name]
        assert family.field_t == protocol.field_t
        assert family.te_ms[0] <= protocol.te_ms <= family.te_ms[1]
        assert family.pixel_mm[0] <= protocol.pixel_mm <= family.pixel_mm[1]
        assert protocol.acquired_mm >= protocol.pixel_mm - 1e-9
    assert {protocol.name for protocol in drawn} == set(families)


def test_out_of_distribution_is_beyond_training() -> None:
    families = PROTOCOL_SETS["training"]
    fields = {family.field_t for family in families}
    widest_gap = max(family.gap_share[1] for family in families)
    for name in ("ood", "ood-validation"):
        for family in PROTOCOL_SETS[name]:
            assert family.field_t not in fields or family.gap_share[0] > widest_gap


def test_training_spans_the_slices_of_3d_scans() -> None:
    families = PROTOCOL_SETS["training"]
    assert min(family.slice_mm[0] for family in families) <= 1.0
    assert max(family.slice_mm[1] for family in families) >= 5.0


def test_a_family_can_be_asked_for_by_name() -> None:
    rng = np.random.default_rng(0)
    assert draw_protocol("siemens-3t", rng).name == "siemens-3t"
    assert draw_protocol("tiny", rng) is TINY


def test_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match=r"siemens-3t.*got 'toaster'"):
        draw_protocol("toaster", np.random.default_rng(0))


@pytest.mark.parametrize("change", [{"pixel_mm": 0.0}, {"te_ms": -1.0}, {"gap_mm": 2.2}])
def test_impossible_sizes_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="positive sizes"):
        replace(TINY, **change)  # type: ignore[arg-type]
