"""The choice of the SWI: every stack is judged, and each verdict says why.

A description alone never decides. An objection is either final (the stack is no volume of grey
values) or a matter of choice (it is no SWI, it has few slices). If a user names the series,
objections of choice are ignored, and the notes of the volume say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cmbnet.io.dicom.frames import Frame, holds_mosaic, text
from cmbnet.io.dicom.geometry import Grid, place_on_grid, repeats
from cmbnet.io.dicom.grouping import Stack
from cmbnet.io.dicom.kinds import ImageKind
from cmbnet.io.dicom.objections import (
    PLAIN,
    gradient_echo,
    named_swi,
    no_swi,
    not_grey_mr,
    oddities,
    unfit,
)
from cmbnet.io.dicom.privacy import patient_identifiers, scrub
from cmbnet.io.dicom.repeats import in_order
from cmbnet.io.dicom.verdict import Objection, SelectionRules, SeriesVerdict

_LONGEST = 256
"""Of a description that is shown: the standard allows 64 letters, a damaged header any number."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A stack, its grid if it has one, and the verdict."""

    stack: Stack
    grid: Grid | None = field(repr=False)
    verdict: SeriesVerdict


def judge_all(stacks: Sequence[Stack], rules: SelectionRules, frame: int | None) -> list[Judged]:
    """Judge every stack. A stack that is SWI only by description is compared with its originals.

    A description is typed by people. A projection made at the console may be called SWI.
    """
    originals = [stack for stack in stacks if _original(stack, rules)]
    judged = []
    for one in (judge(stack, rules, frame) for stack in stacks):
        source = next((stack for stack in originals if _made_of(one.stack, stack)), None)
        if source is None or not _swi_by_name_alone(one.stack):
            judged.append(one)
            continue
        reason = (
            "a derived image whose only sign of SWI is its description, beside the original "
            f"3D gradient echo of series {source.key}"
        )
        objections = (*one.verdict.objections, Objection(reason, final=False))
        judged.append(replace(one, verdict=replace(one.verdict, objections=objections)))
    return judged


def _swi_by_name_alone(stack: Stack) -> bool:
    derived = not {"DERIVED", "SECONDARY"}.isdisjoint(stack.frames[0].tokens)
    return derived and named_swi(stack) and stack.kind in (ImageKind.MAGNITUDE, ImageKind.UNKNOWN)


def _original(stack: Stack, rules: SelectionRules) -> bool:
    """Whether a stack is an original 3D gradient echo with the echo time of SWI, or with none."""
    first = stack.frames[0]
    original = "ORIGINAL" in first.tokens and "SECONDARY" not in first.tokens
    echo_fits = first.echo_ms is None or rules.echo_range_ms[0] <= first.echo_ms
    return original and stack.kind in PLAIN and echo_fits and gradient_echo(first) and _is_3d(first)


def _made_of(stack: Stack, original: Stack) -> bool:
    """Whether both lie in one frame of reference, or in one study where none is stated."""
    attributes, others = stack.frames[0].attributes, original.frames[0].attributes
    for keyword in ("FrameOfReferenceUID", "StudyInstanceUID"):
        mine, its = text(attributes, keyword), text(others, keyword)
        if mine and its:
            return mine == its
    return False


def judge(stack: Stack, rules: SelectionRules, frame: int | None) -> Judged:
    """Score a stack and collect every reason against it."""
    grid, unplaced = _place(stack, frame)
    final = (*stack.faults, *not_grey_mr(stack), *unplaced)
    others = (*no_swi(stack, rules), *(() if grid is None else unfit(stack, grid, rules)))
    score, points = _score(stack, rules)
    header = stack.frames[0].attributes
    description = text(header, "SeriesDescription")[:_LONGEST]
    verdict = SeriesVerdict(
        key=stack.key,
        series_instance_uid=stack.series_instance_uid,
        description=scrub(description, patient_identifiers(header)),
        kind=stack.kind,
        images=len(stack.frames),
        shape=None if grid is None else (len(grid.order), *grid.order[0].shape),
        spacing_mm=None if grid is None else grid.spacing_mm,
        score=score,
        points=points,
        objections=(
            *(Objection(reason, final=True) for reason in final),
            *(Objection(reason, final=False) for reason in others),
        ),
        notes=(
            *stack.notes,
            *stack.numbering,
            *(() if grid is None else grid.notes),
            *oddities(stack, rules),
        ),
    )
    return Judged(stack, grid, verdict)


def _place(stack: Stack, frame: int | None) -> tuple[Grid | None, tuple[str, ...]]:
    """The grid of a stack, of one image per position, and the reasons why it cannot be read."""
    if stack.kind is ImageKind.MOSAIC and not _plain_slices(stack):
        return None, (
            "a mosaic (many slices in one image) is not read: export it as a plain series",
        )
    count = repeats(stack.frames)
    if count == 1:
        return place_on_grid(stack.frames)
    images = in_order(stack.frames, count)
    if not images:
        return None, (
            f"a series of several images: {count} share each of {len(stack.frames) // count} "
            "positions, and nothing in the headers orders them alike at every position; export "
            "them as series of their own",
        )
    if frame is not None and 0 <= frame < count:
        return place_on_grid(images[frame])
    # The grid of the first stands for all, so that the table can show it.
    grid, reasons = place_on_grid(images[0])
    several = (
        f"a series of several images: {count} share each of {len(stack.frames) // count} "
        f"positions; choose one with frame 0 to {count - 1}"
    )
    return grid, (several, *reasons)


def _plain_slices(stack: Stack) -> bool:
    """Whether images lie as slices do: those of a mosaic all bear the place of its first slice."""
    return not holds_mosaic(stack.frames[0]) and place_on_grid(stack.frames)[0] is not None


def _score(stack: Stack, rules: SelectionRules) -> tuple[int, tuple[str, ...]]:
    first = stack.frames[0]
    low, high = rules.echo_range_ms
    table = (
        (5, "image type says SWI", stack.kind is ImageKind.SWI),
        (3, "description names SWI", named_swi(stack)),
        (1, "3D gradient echo", gradient_echo(first) and _is_3d(first)),
        (
            1,
            f"echo time {low:g} to {high:g} ms",
            first.echo_ms is not None and low <= first.echo_ms <= high,
        ),
        (-2, "secondary: reformatted at the console", "SECONDARY" in first.tokens),
    )
    given = [(points, why) for points, why, holds in table if holds]
    return sum(points for points, _ in given), tuple(f"{points:+d} {why}" for points, why in given)


def _is_3d(frame: Frame) -> bool:
    return text(frame.attributes, "MRAcquisitionType").upper() == "3D"
