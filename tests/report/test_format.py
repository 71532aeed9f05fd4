"""Numbers as text."""

from __future__ import annotations

import math

import pytest

from seqmem.report.findings import listed
from seqmem.report.format import bytes_text, short_number, short_with_interval, with_interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.0123456, "0.0123"), (9.54, "9.54"), (99.6, "99.6"), (950.4, "950"), (1310, "1,310"),
        (9999.4, "9,999"), (12_500, "12.5k"), (999_000, "999k"), (3_240_000, "3.24M"), (2e9, "2G"), (-41_200, "-41.2k"),
    ],
)  # fmt: skip
def test_short_numbers(value: float, text: str) -> None:
    assert short_number(value) == text


@pytest.mark.parametrize("value", [999_500, 999_999, 999_999_999])
def test_no_exponent_where_a_number_rounds_up_to_the_next_unit(value: float) -> None:
    assert "e" not in short_number(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (512, "512 B"), (1023, "1,023 B"), (1024, "1 KiB"), (33_382, "32.6 KiB"), (1.5 * 2**20, "1.5 MiB"),
     (3 * 2**30, "3 GiB"), (1_047_552, "1,023 KiB")],
)  # fmt: skip
def test_bytes(value: float, text: str) -> None:
    assert bytes_text(value) == text


def test_intervals() -> None:
    assert with_interval(0.91234, 0.0131) == "0.912 ± 0.013"
    assert with_interval(0.91234, None, digits=1) == "0.9"
    assert with_interval(None, None) == with_interval(math.nan, 1.0) == short_with_interval(None, None) == "–"
    assert short_with_interval(41_200, 820) == "41.2k ± 820"
    assert short_with_interval(41_200, None) == "41.2k"


def test_listed() -> None:
    assert [listed(list("abc"[:n])) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
