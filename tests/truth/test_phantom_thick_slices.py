"""How many microbleeds of thin SWI a reader finds on conventional thick T2*-weighted GRE.

Nandigam 2009 (AJNR 30:338): 103 of 310 (33 %) in three patients with amyloid angiopathy. Yang 2026
(J Clin Neurol 22:193), 13 studies: SWI finds 1.5 times as many as GRE at 1.5 T (67 %), 1.9 times
with slices below 2 mm (53 %). The phantom has to come out between the first and the last.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest

from benchmarks.planted.reader import Look, Reader
from benchmarks.planted.rescan import look_with_each
from cmbnet.phantom.anatomy import make_anatomy
from cmbnet.phantom.protocol import TINY, Protocol

# The middle 36 mm of a head.
THIN_SWI = Protocol("swi", 1.5, 40, 49, 18, 0.5, 1.5, 0.5, snr=14, shape=(24, 384, 320))
THICK_GRE = Protocol("gre", 1.5, 24, 750, 20, 0.94, 6.0, 0.94, gap_mm=1.0, output="magnitude",
                     snr=30, shape=(6, 204, 170))  # fmt: skip


@pytest.mark.skipif(find_spec("nilearn") is None, reason="the MNI head needs nilearn")
def test_thick_gre_shows_a_reader_some_of_the_microbleeds_of_thin_swi() -> None:
    swi, gre = look_with_each(make_anatomy("mni", 2), [THIN_SWI, THICK_GRE], count=120, seed=2)
    both, there = Reader().found_of(gre, swi)
    assert there > 60
    assert 0.33 <= both / there <= 0.67
    # What the tissue around a microbleed hides, and what is too small, are each part of it.
    assert Reader(0).found_of(gre, swi)[0] > 1.1 * both
    of_any_size = Reader(least_diameter_mm=0).found_of(gre, swi)
    assert of_any_size[0] / of_any_size[1] < both / there


def test_looks_depend_on_echo_time_and_noise_and_on_nothing_else() -> None:
    head = make_anatomy("procedural", 1, 0.5)
    protocols = [TINY, TINY, replace(TINY, te_ms=8), replace(TINY, snr=4)]
    first, again, short, noisy = look_with_each(head, protocols, count=12, seed=2)
    assert len(first) >= 6
    for a, b, c, d in zip(first, again, short, noisy, strict=True):
        assert (a.drop, a.diameter_mm) == (b.drop, b.diameter_mm) == (d.drop, d.diameter_mm)
        assert a.contrast_to_noise == pytest.approx(b.contrast_to_noise, rel=0.2)
        assert d.contrast_to_noise < a.contrast_to_noise
        assert c.drop < a.drop


@pytest.mark.parametrize(
    ("look", "counted"),
    [
        (Look(0.25, 2.0, 5.0), True),  # just enough of each
        (Look(0.24, 2.0, 5.0), False),
        (Look(0.25, 1.9, 5.0), False),
        (Look(0.25, 2.0, 4.9), False),
    ],
)
def test_a_reader_wants_contrast_size_and_distinctness(look: Look, counted: bool) -> None:
    assert Reader().counts(look) == counted


def test_only_what_the_reference_shows_is_looked_for() -> None:
    clear, faint = Look(0.9, 4.0, 9.0), Look(0.1, 4.0, 9.0)
    reference = [clear, clear, faint, clear]
    looks = [clear, faint, clear, clear]
    assert Reader().found_of(looks, reference) == (2, 3)
    assert Reader(least_drop=0.1).found_of(looks, reference) == (4, 4)
