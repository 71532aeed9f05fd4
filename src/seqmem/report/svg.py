"""Matplotlib figures as inline SVG that follows the page: its colours, its fonts, its highlighting.

A figure is drawn in sentinel colours; each becomes a CSS variable of the page (so that light and dark need one
drawing). An artist whose gid is ``series|NAME`` can be highlighted by the page's legend; one whose gid is
``tip|NAME|TEXT`` shows TEXT when pointed at.
"""

from __future__ import annotations

import html
import io
import re
import zlib
from typing import Any

import matplotlib

matplotlib.use("Agg", force=False)
from matplotlib import rc_context
from matplotlib.figure import Figure

INK, FAINT, GRID = "#010101", "#020202", "#030303"
_PAGE_COLOURS = {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--grid)"}
SLOTS = 12  # colours for series; more series than that start again from the first


def series_colour(slot: int) -> str:
    """The sentinel colour of the page's series colour ``slot``."""
    return f"#04{slot % SLOTS:02x}04"


STYLE: Any = {  # matplotlib's type for it is a list of every name of a setting
    "svg.fonttype": "none",
    "svg.hashsalt": "seqmem",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def style() -> Any:
    """Context in which figures of the report are drawn."""
    return rc_context(STYLE)


def to_svg(figure: Figure, label: str) -> str:
    """The figure as one ``<svg>`` element with ``label`` for readers that cannot see it."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _PAGE_COLOURS.items():
        text = text.replace(colour, variable)
    text = re.sub(r"#04([0-9a-f]{2})04", lambda m: f"var(--s{int(m[1], 16)})", text)
    text = re.sub(r"font: ([^;\"]*?)'?sans-serif'?", r"font: \1 var(--sans)", text)
    text = re.sub(r"font-family: [^;\"]+", "font-family: var(--sans)", text)
    text = re.sub(r'<g id="series\|([^"|]*)(?:\|[^"]*)?">', r'<g class="series" data-series="\1">', text)
    text = re.sub(
        r'<g id="tip\|([^"|]*)\|([^"]*)">',
        lambda m: f'<g class="series tip" data-series="{m[1]}"><title>{m[2]}</title>',
        text,
    )
    text = _unique_ids(text, label)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)  # the page decides the size
    text = re.sub(r"<svg ", f'<svg role="img" aria-label="{html.escape(label, quote=True)}" ', text, count=1)
    return re.sub(r"<style type=.*?</style>", "", text, count=1, flags=re.DOTALL)


def _unique_ids(text: str, label: str) -> str:
    """Ids are unique only within a figure; several figures share a page."""
    prefix = f"{re.sub(r'[^a-z0-9]+', '-', label.lower())[:32]}-{zlib.crc32(label.encode()):08x}"
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
