"""``evaluation.html``: one self-contained page that opens offline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.evaluation.show.table import Table
from cmbnet.pages import render

WIDE_PT = 560.0


def render_page(
    title: str,
    headline: Mapping[str, str],
    tables: Sequence[Table],
    figures: Mapping[str, bytes],
    notes: Sequence[str] = (),
) -> str:
    """Render a page with headline numbers, figures (SVG by name), tables and notes.

    Text from files is escaped.
    """
    from markupsafe import Markup

    return render(
        "evaluation.html",
        title=title,
        notice=RESEARCH_USE_ONLY,
        version=__version__,
        headline=headline,
        figures=[
            (name, Markup(inline_svg(svg, f"f{index}")), is_wide(svg))
            for index, (name, svg) in enumerate(figures.items())
        ],
        tables=tables,
        notes=notes,
    )


def is_wide(svg: bytes) -> bool:
    """Return whether a drawing is wide enough for its own row."""
    match = re.search(rb'<svg[^>]* width="([0-9.]+)pt"', svg)
    return match is not None and float(match[1]) > WIDE_PT


def inline_svg(svg: bytes, prefix: str) -> str:
    """Turn an SVG file into an element. A prefix keeps its ids apart from other drawings."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    for mark in ('id="', 'xlink:href="#', "url(#"):
        text = text.replace(mark, f"{mark}{prefix}-")
    return text
