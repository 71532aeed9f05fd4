"""Free recall: who remembers which item of a list, and which item after which.

A table has one row per event, in psifr's format: ``subject``, ``list``, ``trial_type`` ("study" or "recall"),
``position`` (of the event within its phase, from 1) and ``item``. A recall counts if its item was on the list and was
not recalled before; repetitions and intrusions stand between two transitions without being part of any.

Serial position: Murdock, The Serial Position Effect of Free Recall (1962). Lag-CRP: Kahana, Associative Retrieval
Processes in Free Recall (1996). Temporal factor: Sederberg, Miller, Howard and Kahana, The Temporal Contiguity Effect
Predicts Episodic Memory Performance (2010).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqmem.errors import InputError

Array = NDArray[np.float64]
COLUMNS = ("subject", "list", "trial_type", "position", "item")


class Lists(NamedTuple):
    """Lists of one length. subject: (lists,), an index into ``subjects``; recalls: (lists, outputs) int64, the study
    position (from 0) of what was recalled, -1 for a repetition or an intrusion, -2 where nothing more was said."""

    subjects: list[Hashable]
    subject: NDArray[np.int64]
    recalls: NDArray[np.int64]
    length: int


def read_lists(table: str | os.PathLike[str] | Iterable[Mapping[str, object]]) -> Lists:
    """Lists out of a table: a CSV file, or rows as mappings (``DataFrame.to_dict("records")``).

    Raises InputError for missing columns, or lists of different lengths.
    """
    if isinstance(table, (str, os.PathLike)):
        try:
            with open(table, encoding="utf-8", newline="") as file:
                return read_lists(list(csv.DictReader(file)))
        except OSError as error:
            raise InputError(f"recall table '{table}' cannot be read ({error.strerror}); give a CSV file") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"recall table '{table}' is no CSV file in UTF-8 ({error}); convert it first") from error
    study: dict[tuple[object, object], dict[float, object]] = {}
    recall: dict[tuple[object, object], dict[float, object]] = {}
    for row in table:
        if missing := [name for name in COLUMNS if name not in row]:
            raise InputError(f"the recall table has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
        phase = {"study": study, "recall": recall}.get(str(row["trial_type"]))
        if phase is None:
            raise InputError(f"trial_type is {row['trial_type']!r}, expected 'study' or 'recall'")
        try:
            position = float(str(row["position"]))
        except ValueError:
            raise InputError(f"position is {row['position']!r:.40}, expected a number") from None
        phase.setdefault((row["subject"], row["list"]), {})[position] = row["item"]
    if not study:
        raise InputError("the recall table holds no study events; expected rows with trial_type 'study'")
    lengths = {len(items) for items in study.values()}
    if len(lengths) > 1:
        raise InputError(f"lists have {sorted(lengths)} items, expected one length; analyse each length apart")
    rows = []
    for key, items in study.items():
        place = {item: n for n, (_, item) in enumerate(sorted(items.items(), key=lambda pair: pair[0]))}
        said, seen = [], set()
        for _, item in sorted(recall.get(key, {}).items(), key=lambda pair: pair[0]):
            valid = item in place and item not in seen
            said.append(place[item] if valid else -1)
            seen.add(item)
        rows.append(said)
    recalls = np.full((len(rows), max(map(len, rows), default=0)), -2)
    for n, said in enumerate(rows):
        recalls[n, : len(said)] = said
    subjects: list[Hashable] = list(dict.fromkeys(str(subject) for subject, _ in study))
    index = {subject: n for n, subject in enumerate(subjects)}
    return Lists(subjects, np.array([index[str(subject)] for subject, _ in study]), recalls, lengths.pop())


def _by_subject(lists: Lists, values: Array) -> Array:
    """Sums of (lists, ...) per subject, (subjects, ...)."""
    total = np.zeros((len(lists.subjects), *values.shape[1:]))
    np.add.at(total, lists.subject, values)
    return total


def _share(count: Array, possible: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(possible > 0, count / possible, np.nan)


def serial_position(lists: Lists) -> Array:
    """The share of lists in which each study position was recalled, (subjects, length)."""
    recalled = (lists.recalls[:, :, None] == np.arange(lists.length)).any(1).astype(float)
    return _share(_by_subject(lists, recalled), _by_subject(lists, np.ones_like(recalled)))


def first_recall(lists: Lists) -> Array:
    """The share of lists in which each study position is the first that was recalled, (subjects, length); intrusions
    are passed over, and a list without any recall does not count."""
    padded = np.pad(lists.recalls, ((0, 0), (0, 1)), constant_values=-2)
    opening = np.take_along_axis(
        padded, (padded >= 0).argmax(1)[:, None], 1
    )  # (lists, 1), negative where there is none
    first = (opening == np.arange(lists.length)).astype(float)
    return _share(_by_subject(lists, first), _by_subject(lists, (opening >= 0).astype(float)))


def _transitions(lists: Lists) -> Iterable[tuple[int, int, int, list[int]]]:
    """(subject, from, to, what could have been recalled) of every step from one counting recall to the next."""
    for subject, said in zip(lists.subject.tolist(), lists.recalls.tolist(), strict=True):
        left = list(range(lists.length))
        for now, then in zip(said, [*said[1:], -2], strict=True):
            if now >= 0:
                left.remove(now)
                if then >= 0:
                    yield subject, now, then, left


def lag_crp(lists: Lists) -> tuple[NDArray[np.int64], Array]:
    """The probability of a step by each lag (to minus from) given that such a step was possible: (lags (2 * length -
    1), shares (subjects, lags)); NaN where it never was, so always at lag 0."""
    lags = np.arange(1 - lists.length, lists.length)
    made = np.zeros((len(lists.subjects), len(lags)))
    possible = np.zeros_like(made)
    for subject, now, then, left in _transitions(lists):
        made[subject, then - now + lists.length - 1] += 1
        possible[subject, np.array(left) - now + lists.length - 1] += 1
    return lags, _share(made, possible)


def temporal_factor(lists: Lists) -> Array:
    """How near, of all that was left, the next recall lies: the mean percentile of its absolute lag, 1 for always the
    nearest, 0.5 for chance, (subjects,). Ties share their ranks; a step with one possibility does not count."""
    total, count = np.zeros(len(lists.subjects)), np.zeros(len(lists.subjects))
    for subject, now, then, left in _transitions(lists):
        if len(left) > 1:
            distance = np.abs(np.array(left) - now)
            farther, tied = (distance > abs(then - now)).sum(), (distance == abs(then - now)).sum() - 1
            total[subject] += (farther + tied / 2) / (len(left) - 1)
            count[subject] += 1
    return _share(total, count)
