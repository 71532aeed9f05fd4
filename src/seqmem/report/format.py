"""Numbers as a person reads them."""

from __future__ import annotations

import math


def short_number(value: float) -> str:
    """``9.5``, ``950``, ``1,310``, ``12.5k``, ``3.2M``."""
    for limit, least, unit in ((1e9, 999.5e6, "G"), (1e6, 999.5e3, "M"), (1e3, 1e4, "k")):
        if abs(value) >= least:
            return f"{_three_figures(value / limit)}{unit}"
    return _three_figures(value)


def _three_figures(value: float) -> str:
    """Never with an exponent for what is large."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


def bytes_text(value: float) -> str:
    """Bytes in powers of 1,024: ``512 B``, ``4 KiB``, ``1.5 MiB``."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value >= 1024**power:
            return f"{_three_figures(value / 1024**power)} {unit}"
    return f"{value:,.0f} B"


def with_interval(mean: float | None, interval: float | None, digits: int = 3) -> str:
    """``0.912 ± 0.013``; a dash when there is no value."""
    if mean is None or not math.isfinite(mean):
        return "–"
    text = f"{mean:.{digits}f}"
    return text if interval is None else f"{text} ± {interval:.{digits}f}"


def short_with_interval(mean: float | None, interval: float | None) -> str:
    """``41.2k ± 0.8k`` for large quantities."""
    if mean is None or not math.isfinite(mean):
        return "–"
    return short_number(mean) if interval is None else f"{short_number(mean)} ± {short_number(interval)}"


def interval_text(low: float | None, high: float | None) -> str:
    """``0.91 to 0.94``; empty without an interval."""
    return "" if low is None or high is None else f"{short_number(low)} to {short_number(high)}"
