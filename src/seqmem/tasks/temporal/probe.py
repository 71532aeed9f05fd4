"""How far the order of sentences follows the order of events: in stories whose times are known, and in dated text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from seqmem.errors import InputError

YEAR = re.compile(r"(?<![\d,.$])(1[0-9]\d\d|20\d\d)(?![\d%]|,\d|\.\d)")


def order_correlation(times: Sequence[Sequence[float]]) -> float:
    """Kendall's tau-b between the place of a sentence and the time of what it tells, a mean over texts.

    times: of each text, when its sentences' events happened, in the order of telling; 1 is told in order, 0 without
    any. Texts with fewer than two different times say nothing and are left out; InputError where none is left.
    """
    from scipy.stats import kendalltau

    found = [float(kendalltau(range(len(text)), text).statistic) for text in times if len(set(text)) > 1]
    if not found:
        raise InputError(f"none of {len(times)} texts has two different times, expected at least one that has")
    return sum(found) / len(found)


def dated_sentences(text: str) -> list[tuple[int, int]]:
    """(number of the sentence, year) for every sentence that names exactly one year from 1000 to 2099: a probe for
    texts whose times are not known. ``order_correlation([[year for _, year in dated_sentences(text)] for text in
    texts])``."""
    dated = []
    for number, sentence in enumerate(re.split(r"(?<=[.!?])\s+", text)):
        years = {int(year) for year in YEAR.findall(sentence)}
        if len(years) == 1:
            dated.append((number, years.pop()))
    return dated
