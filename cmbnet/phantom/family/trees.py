"""Vein trees: shortest ways from many twigs to few sinuses, so that all of it is connected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from cmbnet.phantom.grid import FloatArray, Grid
from cmbnet.phantom.individual import Deformation
from cmbnet.phantom.veins import SINUSES, STEP_MM, VeinPoints, polyline, thicken, ventricles

NEIGHBOURS = 9
MOST_NODES = 45_000
PIECES = 8
"""Points of the curve between the middles of two edges."""

DEEP = SINUSES[4:]
"""Internal cerebral, septal, thalamostriate and basal veins."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where veins may run: nodes and what a mm costs there."""

    nodes_mm: FloatArray  # (n, 3) positions; the roots come last
    cost: FloatArray  # (n,) cost of a mm
    roots: int  # Number of roots
    twigs: NDArray[np.int64]  # (m,) indices of the nodes where twigs begin


def draw_trees(
    rng: np.random.Generator,
    grid: Grid,
    tissues: tuple[FloatArray, FloatArray, FloatArray],
    inside: NDArray[np.bool_],
    roots_mm: FloatArray,
    deformation: Deformation,
) -> VeinPoints:
    """Draw the veins of the surface, of white matter, and the deep veins that gather them.

    The grid of the maps has 1 mm. Tissues are shares of grey matter, white matter and CSF. `inside`
    lies within the inner table. `roots_mm` are points (n, 3) of sinuses.
    """
    every = (slice(None, None, 2),) * 3
    grey, white, csf = (part[every] for part in tissues)
    coarse = Grid(grey.shape, grid.origin_mm, (2.0, 2.0, 2.0))
    amount = float((grey + white).sum()) / 150_000
    size = deformation.scale
    thickness = float(np.exp(rng.normal(0, 0.25))) * max(size, 0.75)
    ventricle, far_mm = ventricles(csf, deformation.on(coarse))
    spread = rng.uniform(2.3, 3.0)
    free = inside[every] & (far_mm > 6)
    fluid = free & ((csf > 0.35) | (grey + white < 0.2))
    surface = _ground(
        rng, coarse, (fluid, free & (grey > 0.5)), (1.0, float(rng.uniform(2.5, 6))), roots_mm,
        round(rng.uniform(400, 2200) * amount),
    )  # fmt: skip
    parts = [_grow(rng, surface, thickness * rng.uniform(0.13, 0.34), spread, 2.2)]
    deep, gathered = _deep_veins(rng, deformation, size)
    wall = ndimage.binary_dilation(ventricle) & ~ventricle
    medulla = _ground(
        rng, coarse, (wall, (white > 0.6) & (far_mm < 36)), (0.5, 1.0), gathered,
        round(rng.uniform(60, 450) * amount),
    )  # fmt: skip
    parts += [_grow(rng, medulla, thickness * rng.uniform(0.1, 0.26), spread, 1.0), *deep]
    return VeinPoints.joined(parts)


def _deep_veins(
    rng: np.random.Generator, deformation: Deformation, size: float
) -> tuple[list[VeinPoints], FloatArray]:
    """The deep veins, and points of them where others may join."""
    parts, roots = [], []
    wide = rng.uniform(0.6, 1.4)
    for first, last, corners in DEEP:
        jitter = rng.normal(0, 0.8, (len(corners), 3))
        path = polyline(deformation.from_mni(np.array(corners) + jitter), STEP_MM)
        radius = np.linspace(first, last, len(path), dtype=np.float32) * np.float32(size * wide)
        parts.append(thicken(rng, path, radius, STEP_MM))
        roots.append(path[:: max(1, len(path) // 6)])
    return parts, np.concatenate(roots)


def _ground(
    rng: np.random.Generator, grid: Grid, places: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    costs: tuple[float, float], roots_mm: FloatArray, twigs: int,
) -> Ground:  # fmt: skip
    """Nodes in a cheap place and in the dear one where twigs begin."""
    nodes, cost = [], []
    for place, per_mm in zip(places, costs, strict=True):
        index = np.argwhere(place)
        if len(index) > MOST_NODES:
            index = index[rng.choice(len(index), MOST_NODES, replace=False)]
        nodes.append(grid.points_of(index + rng.uniform(-0.5, 0.5, index.shape)))
        cost.append(np.full(len(index), per_mm, np.float32))
    cheap, dear = len(nodes[0]), len(nodes[1])
    first = cheap if dear else 0
    chosen = first + rng.integers(0, max(dear or cheap, 1), twigs)
    nodes.append(roots_mm.astype(np.float32))
    cost.append(np.ones(len(roots_mm), np.float32))
    return Ground(np.concatenate(nodes), np.concatenate(cost), len(roots_mm), chosen)


def _grow(
    rng: np.random.Generator, ground: Ground, twig_mm: float, spread: float, most_mm: float
) -> VeinPoints:
    """Lead every twig to a root; where ways meet the vein widens.

    A vein's radius to the power `spread` is the sum of its branches' (3: Murray's law).
    """
    count = len(ground.nodes_mm)
    if count <= ground.roots + NEIGHBOURS or not len(ground.twigs):
        return VeinPoints(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
    parent, order = _ways(rng, ground)
    flow = np.zeros(count)
    np.add.at(flow, ground.twigs, rng.lognormal(0, 0.4, len(ground.twigs)))
    main = np.full(count, -1)
    for node in order:  # from afar to the roots
        if flow[node] and parent[node] >= 0:
            up = parent[node]
            flow[up] += flow[node]
            if main[up] < 0 or flow[node] > flow[main[up]]:
                main[up] = node
    used = np.flatnonzero((flow > 0) & (parent >= 0))
    radius = np.minimum(twig_mm * flow ** (1 / spread), most_mm).astype(np.float32)
    points = _smooth(ground.nodes_mm, parent, main, used)
    return _curves(rng, points, parent, used, radius)


def _ways(rng: np.random.Generator, ground: Ground) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Next node on the cheapest way to a root (-1: none), and the nodes from afar on."""
    nodes, count = ground.nodes_mm, len(ground.nodes_mm)
    distance, neighbour = cKDTree(nodes).query(nodes, k=NEIGHBOURS)
    start = np.repeat(np.arange(count), NEIGHBOURS - 1)
    end = neighbour[:, 1:].ravel()
    price = 0.5 * (ground.cost[start] + ground.cost[end]) * rng.lognormal(0, 0.35, len(start))
    graph = csr_matrix(
        ((distance[:, 1:].ravel() + 0.05) * price, (start, end)), shape=(count, count)
    )
    roots = np.arange(count - ground.roots, count)
    far, parent, _ = dijkstra(
        graph, directed=False, indices=roots, min_only=True, return_predecessors=True
    )
    far[~np.isfinite(far)] = -1
    parent = np.where(parent < 0, -1, parent).astype(np.int64)
    return parent, np.argsort(-far)


def _smooth(
    nodes_mm: FloatArray, parent: NDArray[np.int64], main: NDArray[np.int64],
    used: NDArray[np.int64],
) -> FloatArray:  # fmt: skip
    points = nodes_mm.copy()
    inner = used[main[used] >= 0]
    for _ in range(3):
        points[inner] = (
            0.4 * points[inner] + 0.3 * points[parent[inner]] + 0.3 * points[main[inner]]
        )
    return points


def _curves(
    rng: np.random.Generator, points: FloatArray, parent: NDArray[np.int64],
    used: NDArray[np.int64], radius: FloatArray,
) -> VeinPoints:  # fmt: skip
    """A curve from the middle of each edge, past its end, to the middle of the next."""
    over = parent[used]
    beyond = parent[over]
    after = np.where(beyond >= 0, beyond, over)  # a root is the end of its way
    first = 0.5 * (points[used] + points[over])
    last = np.where((beyond >= 0)[:, None], 0.5 * (points[over] + points[after]), points[over])
    t = ((np.arange(PIECES) + 0.5) / PIECES)[None, :, None]
    curve = (1 - t) ** 2 * first[:, None] + 2 * t * (1 - t) * points[over][:, None]
    curve = curve + t**2 * last[:, None]
    wide = radius[used][:, None] + (radius[over] - radius[used])[:, None] * t[..., 0]
    length = np.linalg.norm(points[over] - first, axis=1) + np.linalg.norm(
        last - points[over], axis=1
    )
    step = np.repeat(length / PIECES, PIECES).astype(np.float32)
    return thicken(
        rng, curve.reshape(-1, 3).astype(np.float32), wide.ravel().astype(np.float32), step
    )
