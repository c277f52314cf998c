"""``evaluation.html``: one self-contained page that opens offline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.evaluation.show.table import Table

WIDE_PT = 560.0
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content security policy of the page, as in the report. Nothing is fetched and no script runs."""

STYLE = """
:root { color-scheme: light dark; --line: #c9d3da; --soft: #f2f5f7; --text: #17242c; }
@media (prefers-color-scheme: dark) { :root { --line: #3a474f; --soft: #1d262b; --text: #dfe7ec; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); max-width: 68rem;
       margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h3 { margin: 2rem 0 .5rem }
.banner { border-left: 4px solid #c2571a; background: var(--soft); padding: .5rem .8rem }
.facts { display: flex; flex-wrap: wrap; gap: .6rem; padding: 0; list-style: none }
.facts li { background: var(--soft); border-radius: 6px; padding: .5rem .8rem }
.facts b { display: block; font-size: 1.25rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .86rem; width: 100% }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
         white-space: nowrap; font-variant-numeric: tabular-nums }
.text { text-align: left; white-space: normal }
th { border-bottom-width: 2px } .note { font-size: .85rem; opacity: .85 }
.figures { display: grid; gap: 1rem;
           grid-template-columns: repeat(auto-fit, minmax(min(27rem, 100%), 1fr)) }
.figures .whole { grid-column: 1 / -1 }
figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 6px;
         padding: .5rem; overflow-x: auto }
figure svg { max-width: 100%; height: auto; display: block; margin: 0 auto }
""".strip()


def render_page(
    title: str,
    facts: Mapping[str, str],
    tables: Sequence[Table],
    figures: Mapping[str, bytes],
    notes: Sequence[str] = (),
) -> str:
    """Render a page with headline facts, figures, tables and notes. Text from files is escaped.

    Args:
        title: Heading of the page.
        facts: Headline numbers, from name to value.
        tables: Tables of the page.
        figures: SVG drawings, from name to content.
        notes: Notes, one per line.
    """
    items = "".join(f"<li>{escape(k)}<b>{escape(v)}</b></li>" for k, v in facts.items())
    drawn = "".join(
        f"<figure{' class=whole' if is_wide(svg) else ''} aria-label='{escape(name)}'>"
        f"{inline_svg(svg, f'f{index}')}</figure>"
        for index, (name, svg) in enumerate(figures.items())
    )
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    found = f"<h3>Notes</h3><ul>{listed}</ul>" if notes else ""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><p class='banner'>{escape(RESEARCH_USE_ONLY)}</p>"
        f"<ul class='facts'>{items}</ul><div class='figures'>{drawn}</div>"
        + "".join(table.to_html() for table in tables)
        + f"{found}<p class='note'>cmbnet {escape(__version__)}</p></body></html>\n"
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
