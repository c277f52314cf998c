"""The wide family: what is drawn, what it is labelled as, and that nothing else changed."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.planted.patch import image_microbleed
from cmbnet.phantom import MimicKind, PhantomCase, draw_protocol, make_case
from cmbnet.phantom.family import FamilyHead, make_family_head
from cmbnet.phantom.family.case import _kept_truth, echo_times_ms
from cmbnet.phantom.family.disease import PAINTERS, Canvas, Disease
from cmbnet.phantom.family.lesions import (
    PATIENTS,
    draw_deposit,
    draw_family_count,
    draw_family_microbleed,
)
from cmbnet.phantom.family.looks import FLOWS, draw_looks, paint
from cmbnet.phantom.family.sinuses import Tube, share_of
from cmbnet.phantom.grid import Grid, resample
from cmbnet.phantom.protocol import PROTOCOL_SETS, TINY, WIDE_TINY, WideProtocol
from cmbnet.phantom.regions import Region
from cmbnet.phantom.swi import susceptibility_weighted

OLD_PROTOCOLS = {
    "training": ("gre-3d-3t", 19.72, 0.904),
    "validation": ("ge-premier-3t", 24.0, 0.6454),
    "test": ("united-3t", 18.43, 0.6712),
    "gaps": ("gre-2d-3t", 16.29, 0.9616),
    "ood": ("gre-2d-wide-gap", 22.29, 0.9116),
}
OLD_SUM, OLD_LESION_VOXELS, OLD_BRAIN_VOXELS = 51_484_831, 36, 95_026


@pytest.fixture(scope="module")
def wide_head() -> FamilyHead:
    return make_family_head("procedural", 1, 0.5)


@pytest.fixture(scope="module")
def wide_case() -> PhantomCase:
    return make_case(
        3, positive=True, protocol="family-tiny", anatomy="procedural", anatomy_seed=1,
        lesion_count=8,
    )  # fmt: skip


def test_old_sets_draw_what_they_drew() -> None:
    """Numbers from before the family came."""
    drawn = {
        name: draw_protocol(name, np.random.default_rng(5))
        for name in ("training", "validation", "test", "gaps", "ood")
    }
    assert {name: (p.name, p.te_ms, p.pixel_mm) for name, p in drawn.items()} == OLD_PROTOCOLS
    assert not any(isinstance(protocol, WideProtocol) for protocol in drawn.values())
    assert "mask" not in asdict(drawn["training"])


def test_old_phantoms_are_what_they_were(positive: PhantomCase) -> None:
    """Sums of the tiny phantom before the family came; a processor may round otherwise."""
    image = positive.image.data.astype(float)
    assert image.sum() == pytest.approx(OLD_SUM, rel=1e-4)
    assert (positive.lesions.data > 0).sum() == pytest.approx(OLD_LESION_VOXELS, abs=2)
    assert (positive.brain.data > 0).sum() == pytest.approx(OLD_BRAIN_VOXELS, abs=2)


def test_same_seed_same_bytes(wide_case: PhantomCase) -> None:
    make_family_head.cache_clear()
    again = make_case(
        3, positive=True, protocol="family-tiny", anatomy="procedural", anatomy_seed=1,
        lesion_count=8,
    )  # fmt: skip
    for name in ("image", "lesions", "ignore", "mimics", "brain"):
        first, second = getattr(wide_case, name), getattr(again, name)
        assert first.data.tobytes() == second.data.tobytes()
    assert again.truth == wide_case.truth


def test_rows_and_labels_agree(wide_case: PhantomCase) -> None:
    labels = wide_case.lesions.data
    present = [row.lesion for row in wide_case.truth if row.lesion]
    assert present
    assert sorted(present) == list(range(1, labels.max() + 1))
    assert not np.any((labels > 0) & (wide_case.ignore.data > 0))
    assert wide_case.image.data.min() >= 0


def test_a_control_has_no_microbleeds() -> None:
    control = make_case(
        4, positive=False, protocol="family-tiny", anatomy="procedural", anatomy_seed=1
    )
    assert control.truth == ()
    assert not control.lesions.data.any()


def test_clinics_have_mostly_t2_star() -> None:
    families = PROTOCOL_SETS["family"]
    plain = sum(family.weight for family in families if family.output == "magnitude")
    assert 0.45 <= plain / sum(family.weight for family in families) <= 588 / 808
    two_d = [family for family in families if "gre-2d" in family.name]
    assert {(family.slice_mm, family.gap_share[0]) for family in two_d} == {((3.0, 6.5), 0.0)}


def test_drawn_protocols_use_every_filter() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_protocol("family", rng) for _ in range(300)]
    wide = [protocol for protocol in drawn if isinstance(protocol, WideProtocol)]
    assert len(wide) == 300
    for name in ("smoothing_px", "sharpening", "ghost", "edge_slices", "uneven_noise"):
        share = np.mean([getattr(protocol, name) > 0 for protocol in wide])
        assert 0.05 < share < 0.9, name
    assert {protocol.mask for protocol in wide} == {"power", "tanh", "symmetric"}
    assert {protocol.echoes for protocol in wide} == {1, 2, 3}
    partial = [protocol.covered for protocol in wide if protocol.covered != (0.0, 1.0)]
    assert 0.05 < len(partial) / 300 < 0.2
    assert all(0 <= first < last <= 1 for first, last in partial)


@pytest.mark.parametrize("echoes", [1, 2, 3])
def test_echoes_have_the_mean_of_the_protocol(echoes: int) -> None:
    times = echo_times_ms(replace(WIDE_TINY, echoes=echoes))
    assert len(times) == echoes
    assert np.mean(times) == pytest.approx(WIDE_TINY.te_ms)


def test_every_tissue_is_dark_and_bright_somewhere() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_looks(rng, TINY) for _ in range(300)]
    for name in ("csf", "cortex", "dura", "marrow", "muscle", "fat", "artery"):
        signal = np.array([looks.signal[name] for looks in drawn])
        assert np.mean(signal < 0.9) > 0.1, name
        assert np.mean(signal > 1.1) > 0.03, name
    sinus = np.array([looks.sinus for looks in drawn])
    assert np.mean(sinus[:, 1] < 0.4) > 0.2
    assert np.mean(sinus[:, 0] > 1.1) > 0.1
    assert np.mean(sinus[:, 1] > sinus[:, 0]) > 0.1
    assert sum(share for share, _ in FLOWS.values()) == pytest.approx(1)


def test_brain_is_parenchyma_and_ventricles(wide_head: FamilyHead) -> None:
    maps = wide_head.anatomy
    assert not np.any(maps.brain & (wide_head.sinus > 128))
    assert np.mean(maps.brain[(maps.white > 200) & (maps.csf < 20)]) > 0.98
    assert np.mean(maps.brain[wide_head.outside_mm > 0]) < 0.01
    assert maps.brain.sum() < 0.97 * (wide_head.outside_mm < 0).sum()


def test_layers_lie_around_the_brain(wide_head: FamilyHead) -> None:
    middle = {
        name: float(np.average(wide_head.outside_mm, weights=wide_head.layers[name]))
        for name in ("bone", "marrow", "fat")
    }
    assert 0 < middle["marrow"] < middle["fat"]
    assert 0 < middle["bone"] < middle["fat"]


@pytest.mark.parametrize(
    ("section", "area"), [("round", 0.785), ("flat", 0.314), ("triangle", 0.45)]
)
def test_tubes_have_the_area_of_their_section(section: str, area: float) -> None:
    grid = Grid((60, 40, 40), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    along = np.arange(10, 50, 0.45, dtype=np.float32)
    path = np.stack([along, np.full_like(along, 20), np.full_like(along, 20)], axis=1)
    outward = np.broadcast_to(np.array([0, 1, 0], np.float32), path.shape)
    tube = Tube(path, np.full(len(path), 8, np.float32), section, outward)  # type: ignore[arg-type]
    share = share_of([tube], grid)
    assert share.max() <= 1
    assert share[20:40].sum() / 20 == pytest.approx(area * 64, rel=0.1)


def test_veins_are_connected(wide_head: FamilyHead) -> None:
    """Trees that end in sinuses: few pieces hold nearly all of the blood."""
    veins = wide_head.anatomy.veins
    grid = wide_head.anatomy.grid
    blood = np.zeros(grid.shape, bool)
    index = np.rint(grid.index_of(veins.points_mm)).astype(int)
    inside = np.all((index >= 0) & (index < grid.shape), axis=1)
    blood[tuple(index[inside].T)] = True
    blood |= wide_head.sinus > 60
    labels, _ = ndimage.label(blood, np.ones((3, 3, 3)))
    sizes = np.sort(np.bincount(labels.ravel())[1:])[::-1]
    assert sizes[:6].sum() > 0.9 * sizes.sum()


def test_counts_and_places_are_those_of_patients() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([draw_family_count(rng) for _ in range(20_000)])
    assert np.median(counts) in (1, 2)
    assert 5 <= np.percentile(counts, 90) <= 18
    assert counts.max() <= 83
    weight: dict[str, float] = {}
    for share, groups in PATIENTS:
        total = sum(groups.values())
        for regions, part in groups.items():
            name = regions[0].group if len(regions) > 1 else regions[0].name
            weight[name] = weight.get(name, 0) + share * part / total
    assert weight["lobar"] == pytest.approx(0.73, abs=0.03)
    assert weight["deep"] == pytest.approx(0.08, abs=0.02)
    assert weight["THALAMUS"] == pytest.approx(0.05, abs=0.02)
    assert weight["BRAINSTEM"] == pytest.approx(0.04, abs=0.02)


def test_sizes_depths_and_shapes_are_those_of_real_ones() -> None:
    """Medians of four cohorts of SWI: 2.3 to 3.1 mm, residual signal .3 to .63 (with noise)."""
    rng = np.random.default_rng(1)
    rows, ratios = [], []
    for _ in range(70):
        protocol = replace(
            draw_protocol("family-swi-3t", rng), pixel_mm=0.86, acquired_mm=0.9, slice_mm=1.8
        )
        lesion = draw_family_microbleed(
            rng, Region.FRONTAL, rng.uniform(-0.4, 0.4, 3), draw_deposit(rng, protocol), protocol
        )
        result = image_microbleed(lesion, protocol)
        if result.truth.status != "truth":
            continue
        drop = 1 - result.image
        region = drop >= max(0.5 * result.truth.peak_drop, 0.2)
        inside = np.percentile(result.image[region], 10)
        rows.append(((6 / np.pi * result.truth.volume_mm3) ** (1 / 3), inside))
        centres = np.array([sphere.centre_mm for sphere in lesion.spheres if sphere.chi_ppm > 0.02])
        if len(centres) > 3:
            axes = np.sqrt(np.linalg.eigvalsh(np.cov(centres.T) + 0.3 * np.eye(3)))
            ratios.append(axes[1] / axes[2])
    size, depth = np.array(rows).T
    assert len(rows) > 25
    assert 2.3 <= np.median(size) <= 3.3
    assert np.mean(size > 5) < 0.15
    assert 0.2 <= np.median(depth) <= 0.63
    assert np.percentile(depth, 90) >= 0.5
    assert 0.5 <= np.median(ratios) <= 1.0


def test_some_lesions_have_bright_cores() -> None:
    rng = np.random.default_rng(0)
    protocol = replace(TINY, pixel_mm=0.5, acquired_mm=0.5, slice_mm=1.5)
    cores = 0
    for _ in range(40):
        lesion = draw_family_microbleed(rng, Region.FRONTAL, np.zeros(3), (5.0, 0.5), protocol)
        result = image_microbleed(lesion, protocol)
        dark = result.image < 0.6
        filled = np.stack([ndimage.binary_fill_holes(part) for part in dark])
        cores += bool((filled & ~dark).sum() > 3)
    assert 3 <= cores <= 30


@pytest.mark.parametrize("number", range(1, len(PAINTERS)))
def test_other_diseases_are_marked(wide_head: FamilyHead, number: int) -> None:
    paint_one = PAINTERS[number][2]
    looks = draw_looks(np.random.default_rng(2), TINY)
    signal, chi = paint(np.random.default_rng(3), wide_head, looks)
    before = signal.copy()
    disease = paint_one(Canvas(np.random.default_rng(4), wide_head, looks, signal, chi))
    assert isinstance(disease, Disease)
    assert np.all(np.isfinite(signal))
    changed = np.abs(signal - before) > 0.05
    assert changed.any()
    if disease.ignored:
        own = wide_head.anatomy.grid
        box, share = disease.on(own, own)
        covered = np.zeros(own.shape, bool)
        covered[box] = share > 0.3
        # A bright oedema may reach further: what is darker lies within.
        darker = signal < before - 0.15
        assert np.mean(covered[darker]) > 0.9
    assert disease.name in ("lacune", "infarct") or disease.ignored


def test_a_disease_lies_on_another_grid_where_it_was_painted(wide_head: FamilyHead) -> None:
    own = wide_head.anatomy.grid
    share = np.zeros((8, 9, 10), np.float32)
    share[2:6, 3:7, 4:8] = 1
    whole = np.zeros(own.shape, np.float32)
    box = (slice(30, 38), slice(40, 49), slice(50, 60))
    whole[box] = share
    disease = Disease("lacune", box, share, False, np.zeros(3), 0.0)
    target = Grid((20, 90, 90), tuple(mm + 0.3 for mm in own.origin_mm), (3.1, 0.8, 0.9))  # type: ignore[arg-type]
    found = np.zeros(target.shape, np.float32)
    at, part = disease.on(own, target)
    found[at] = part
    np.testing.assert_allclose(found, resample(whole, own, target, outside=0.0), atol=1e-4)


def test_sinuses_are_labelled_as_mimics(wide_case: PhantomCase) -> None:
    marks = wide_case.mimics.data
    assert np.any(marks == MimicKind.SINUS)
    assert np.any(marks == MimicKind.VEIN)
    hidden = (marks == MimicKind.SINUS) & (wide_case.brain.data > 0)
    assert hidden.sum() < 0.05 * (marks == MimicKind.SINUS).sum()


@pytest.mark.parametrize("mask", ["power", "tanh", "symmetric"])
def test_masks_darken_the_phase_of_blood(mask: str) -> None:
    grid = Grid((1, 64, 64), (0.0, 0.0, 0.0), (2.0, 0.7, 0.7))
    image = np.ones((1, 64, 64), np.complex64)
    image[0, 30:33, 30:33] *= np.exp(1.8j)
    protocol = replace(WIDE_TINY, mask=mask)  # type: ignore[arg-type]
    seen = susceptibility_weighted(image, grid, protocol)
    assert seen[0, 31, 31] < 0.5 * seen[0, 5, 5]
    assert seen[0, 5, 5] == pytest.approx(1, abs=0.15)


def test_a_lesion_that_stripping_cuts_is_lost(wide_case: PhantomCase) -> None:
    labels = wide_case.lesions.data.copy()
    assert labels.max() >= 2
    kept = labels > 1  # little of the background is kept, as in a stripped scan
    truth = labels, wide_case.ignore.data.copy(), list(wide_case.truth)
    found, ignore, rows = _kept_truth(truth, kept)
    assert found.max() == labels.max() - 1
    np.testing.assert_array_equal(found > 0, labels > 1)
    np.testing.assert_array_equal(ignore > 0, (wide_case.ignore.data > 0) | (labels == 1))
    by_label = {row.lesion: new for row, new in zip(wide_case.truth, rows, strict=True)}
    assert (by_label[1].status, by_label[1].lesion) == ("lost", 0)
    assert by_label[2].lesion == 1
    assert (found[labels == 2] == 1).all()
