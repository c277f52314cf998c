"""`make_pair`: one head at two times, with microbleeds added in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import UsageError
from cmbnet.phantom.acquisition import receive_bias
from cmbnet.phantom.anatomy import Anatomy, make_anatomy
from cmbnet.phantom.case import (
    MAX_TILT_RAD,
    TILT_PROBABILITY,
    PhantomCase,
    _draw_lesions,
    _image,
    _store,
    _tissue_and_mimics,
    noise_free_pair,
)
from cmbnet.phantom.lesions import Microbleed, draw_moments, expected_diameter_mm, place_lesions
from cmbnet.phantom.mimics import taken_by
from cmbnet.phantom.protocol import TINY, Protocol, WideProtocol, draw_protocol
from cmbnet.phantom.scan import ScanPlan, average_sub_slices, plan_scan, shows_lesions
from cmbnet.phantom.spheres import add_spheres
from cmbnet.phantom.template import AnatomyKind
from cmbnet.phantom.truth import find_apparent
from cmbnet.volume import Volume

LATER = 10**12
"""What is added to a seed for the second visit."""

MOST_TURN_DEG, MOST_SHIFT_MM = 6.0, 10.0
"""How the head lies differently in the scanner's world."""


@dataclass(frozen=True, slots=True)
class Rescan:
    """How the second protocol differs from the first."""

    te_share: float = 1.0  # Later over first echo time
    field_t: float | None = None  # Field strength; None for the same
    slice_mm: float | None = None  # Slice thickness; None for the same

    def of(self, protocol: Protocol) -> Protocol:
        """The second protocol."""
        return replace(
            protocol,
            te_ms=protocol.te_ms * self.te_share,
            field_t=protocol.field_t if self.field_t is None else self.field_t,
            slice_mm=protocol.slice_mm if self.slice_mm is None else self.slice_mm,
        )


def make_pair(
    seed: int,
    *,
    added: int,
    lesion_count: int | None = None,
    protocol: Protocol | str | None = None,
    anatomy: AnatomyKind = "mni",
    anatomy_seed: int | None = None,
    rescan: Rescan = Rescan(),
) -> tuple[PhantomCase, PhantomCase]:
    """Make two scans of one head.

    The second has other noise, tilt and position, the same mimics, and the lesions of the first:
    row n of both tables of truth is one lesion. The rows that only the second has were added.
    `added` lesions are large enough to be seen; one without room is left out. `rescan` says how the
    second protocol differs. The others are the arguments of `cmbnet.phantom.make_case` for the
    first scan; the protocol is not of the wide family.

    Raises:
        UsageError: If the protocol does not exist or is of the wide family.
    """
    if protocol is None:
        protocol = "training" if anatomy == "mni" else TINY
    if isinstance(protocol, str):
        protocol = draw_protocol(protocol, np.random.default_rng([seed, 10]))
    if isinstance(protocol, WideProtocol):
        raise UsageError("a protocol that is not of the wide family is required for a second visit")
    head = make_anatomy(
        anatomy, seed if anatomy_seed is None else anatomy_seed, protocol.head_scale
    )
    visit = _Visit(seed, seed, head, protocol)
    lesions = visit.draw(lesion_count) if lesion_count != 0 else []
    first = visit.case(lesions)
    later = _Visit(seed, seed + LATER, head, rescan.of(protocol))
    return first, _moved(later.case([*lesions, *later.add(lesions, added)]), seed)


class _Visit:
    """One scan of a head.

    `seed` is that of lesions and mimics, `own` that of noise and acquisition.
    """

    def __init__(self, seed: int, own: int, head: Anatomy, protocol: Protocol) -> None:
        rng = np.random.default_rng([own, 11])
        tilted = rng.random() < TILT_PROBABILITY  # in the order of `make_case`
        self._tilt = float(rng.uniform(-MAX_TILT_RAD, MAX_TILT_RAD)) if tilted else 0.0
        self._seed, self._own, self._head = seed, own, head
        self._scan = plan_scan(head, protocol, self._tilt)
        if own != seed:
            self._scan = _shifted(self._scan, rng.uniform(-0.5, 0.5, 3))
        self._mimics, self._seen = _tissue_and_mimics(seed, head, self._scan, [])
        self._without = average_sub_slices(self._seen.signal, self._scan)

    def draw(self, count: int | None) -> list[Microbleed]:
        """The lesions of the first visit."""
        return _draw_lesions(
            self._seed, self._head, self._scan, self._mimics, self._seen, self._without, count
        )

    def add(self, lesions: Sequence[Microbleed], count: int) -> list[Microbleed]:
        """Lesions beside those that are there."""
        rng = np.random.default_rng([self._own, 12])
        moments = np.concatenate([np.zeros(0), *(draw_moments(rng, 1) for _ in range(count))])

        def suitable(points_mm: NDArray[np.floating]) -> NDArray[np.bool_]:
            return shows_lesions(points_mm, self._scan, self._seen, self._without)

        taken = [
            *((one.centre_mm, expected_diameter_mm(one.moment_ppm_mm3) / 2 + 4) for one in lesions),
            *taken_by(self._mimics),
        ]
        return place_lesions(rng, self._head, self._scan.protocol, moments, suitable, taken)

    def case(self, lesions: list[Microbleed]) -> PhantomCase:
        """The scan with these lesions."""
        for lesion in lesions:
            add_spheres(self._seen.signal, self._scan, lesion.spheres)
        complete = average_sub_slices(self._seen.signal, self._scan) if lesions else self._without
        rng = np.random.default_rng([self._own, 13])
        bias = receive_bias(rng, self._scan.grid.shape, self._scan.protocol.bias)
        white = self._seen.white
        without, with_lesions = noise_free_pair(lesions, self._without, complete, bias, self._scan)
        noise = white / self._scan.protocol.snr
        truth = find_apparent(
            lesions, self._scan.grid, with_lesions, without, noise=noise, white=white
        )
        image = _image(self._own, complete * bias, self._scan, white)
        return _store(
            self._own, self._scan, self._head, self._mimics, truth, image, self._seen, self._tilt
        )


def _shifted(scan: ScanPlan, voxels: NDArray[np.float64]) -> ScanPlan:
    """The same slices, a part of a voxel away."""
    shift_mm = voxels * scan.grid.spacing_mm

    def moved(origin_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        z, y, x = (np.array(origin_mm) + shift_mm).tolist()
        return z, y, x

    return replace(
        scan,
        grid=replace(scan.grid, origin_mm=moved(scan.grid.origin_mm)),
        work=replace(scan.work, origin_mm=moved(scan.work.origin_mm)),
    )


def _moved(case: PhantomCase, seed: int) -> PhantomCase:
    """The head lies elsewhere in the scanner's world."""
    rng = np.random.default_rng([seed + LATER, 18])
    move = np.eye(4)
    move[:3, 3] = rng.uniform(-MOST_SHIFT_MM, MOST_SHIFT_MM, 3)
    for a, b in ((1, 2), (0, 2), (0, 1)):
        angle = np.deg2rad(rng.uniform(-MOST_TURN_DEG, MOST_TURN_DEG))
        turn = np.eye(4)
        turn[[a, b], [a, b]] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        move = move @ turn

    def there(volume: Volume) -> Volume:
        return replace(volume, affine=move @ volume.affine)

    return replace(
        case, image=there(case.image), lesions=there(case.lesions), ignore=there(case.ignore),
        mimics=there(case.mimics), brain=there(case.brain),
    )  # fmt: skip
