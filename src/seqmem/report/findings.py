"""What a reader should see in a comparison, one sentence each, computed from the figures.

``summary`` is the plain dict that :func:`seqmem.training.aggregate.aggregate` makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqmem.report.format import bytes_text, short_number

Stat = Mapping[str, Any]
FEW = 12  # so many names are read in a sentence


def label_of(row: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The mixer's name (a class's own name for package.module:Class), with the width when the study has several."""
    name = _short(str(row["mixer"]))
    if any(r["mixer"] != row["mixer"] and _short(str(r["mixer"])) == name for r in summary["rows"]):
        name = str(row["mixer"])
    widths = {r["width"] for r in summary["rows"]}
    return f"{name} · {row['width']}" if len(widths) > 1 else name


def _short(mixer: str) -> str:
    """``Layer(window=8)`` of ``package.module:Layer(window=8)``."""
    name, bracket, options = mixer.partition("(")
    return name.rpartition(":")[2] + bracket + options


def findings(summary: Mapping[str, Any], memory: Mapping[str, str]) -> list[str]:
    """Sentences on each task, on the trade-off with the state, on length, on speed.

    memory: mixer -> "constant" or "linear".
    """
    sentences: list[str] = []
    for task in summary["tasks"]:
        sentences += _on_task(task, summary)
    for task in summary["tasks"]:
        if task["metric"] == "accuracy":
            sentences += _on_state(task, summary, memory) + _on_length(task, summary)
    sentences += _on_speed(summary)
    return sentences


def _scores(
    task: Mapping[str, Any], summary: Mapping[str, Any], length: str
) -> list[tuple[str, Stat, Mapping[str, Any]]]:
    """(label, score at ``length``, cell) of every mixer on the task, best first."""
    found = [
        (label_of(cell, summary), cell["test"].get(length, {}).get("all"), cell)
        for cell in summary["cells"]
        if cell["task"] == task["name"]
    ]
    known = [item for item in found if item[1] is not None]
    return sorted(known, key=lambda item: item[1]["mean"], reverse=task["better"] == "higher")


def _apart(one: Stat, other: Stat) -> bool:
    """Whether the 95 % intervals do not overlap.

    With single seeds there is no interval, and nothing is called equal.
    """
    if one["half_width"] is None or other["half_width"] is None:
        return True
    return abs(one["mean"] - other["mean"]) > one["half_width"] + other["half_width"]


def _beats(task: Mapping[str, Any], score: Stat) -> bool:
    """Whether a score is better than the guess that has read nothing, by more than a tenth of it."""
    if task["metric"] == "accuracy":
        return bool(score["mean"] > 1.1 * task["chance"])
    return bool(score["mean"] < 0.9 * task["chance"])


def _on_task(task: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    if not task["test_lengths"] or not (scores := _scores(task, summary, task["test_lengths"][0])):
        return []
    (best, top, _), rest = scores[0], scores[1:]
    reference = "a guess from letter frequencies alone" if task["metric"] == "bits_per_byte" else "chance"
    if not _beats(task, top):
        return [
            f"{task['name']}: nothing beats {reference} ({task['chance']:.3f}) by a tenth of it after this little "
            f"training; the best figure is {best}'s, {top['mean']:.3f}."
        ]
    what = "bits per byte" if task["metric"] == "bits_per_byte" else "accuracy"
    text = f"{task['name']}: {best} is best with {top['mean']:.3f} {what}"
    equals = [label for label, score, _ in rest if not _apart(top, score)]
    if len(equals) == len(rest) > 1:
        text += f" (not told apart from any other by {top['n']} seeds)"
    elif equals:
        text += f" (not told apart from {_some(equals)} by {top['n']} seeds)"
    if rest:
        text += f"; {rest[-1][0]} is last with {rest[-1][1]['mean']:.3f}"
    return [f"{text}; {reference} scores {task['chance']:.3f}."]


def _on_state(task: Mapping[str, Any], summary: Mapping[str, Any], memory: Mapping[str, str]) -> list[str]:
    scores = _scores(task, summary, task["test_lengths"][0]) if task["test_lengths"] else []
    good = [item for item in scores if item[1]["mean"] >= 0.9 * scores[0][1]["mean"] and item[2]["state_bytes"]]
    if len(scores) < 2 or scores[0][1]["mean"] < 2 * task["chance"] or not good:
        return []
    label, score, cell = min(good, key=lambda item: item[2]["state_bytes"]["mean"])
    text = (
        f"Memory on {task['name']}: the smallest state within a tenth of the best accuracy is {label}'s, "
        f"{bytes_text(cell['state_bytes']['mean'])} per sequence for {score['mean']:.3f}"
    )
    growing = [
        item
        for item in scores
        if memory.get(item[2]["mixer"]) == "linear" and item[2]["state_bytes"] and item[0] != label
    ]
    if growing:
        other, _, its = growing[0]
        held = bytes_text(its["state_bytes"]["mean"])
        text += f"; {other} holds {held} at {task['test_lengths'][-1]} tokens, and more with every token"
    return [text + "."]


def _on_length(task: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    lengths = task["test_lengths"]
    if len(lengths) < 2:
        return []
    learned = [item for item in _scores(task, summary, lengths[0]) if item[1]["mean"] > 0.5 + 0.5 * task["chance"]]
    if not learned:
        return []
    kept: list[str] = []
    lost: list[str] = []
    for label, score, cell in learned:
        far = cell["test"][lengths[-1]]["all"]
        (kept if far and far["mean"] >= score["mean"] - 0.1 else lost).append(label)
    parts = []
    if kept:
        keep = "keeps" if len(kept) == 1 else "keep"
        parts.append(f"{_some(kept)} {keep} within 0.1 of the accuracy at the training length")
    if lost:
        parts.append(f"{_some(lost)} {'loses' if len(lost) == 1 else 'lose'} more")
    factor = int(lengths[-1]) / int(lengths[0])
    return [f"Length on {task['name']}: read at {factor:.3g} times the training length, {', '.join(parts)}."]


def _on_speed(summary: Mapping[str, Any]) -> list[str]:
    sentences = []
    for key, text, better in (
        ("train_tokens_per_second", "Training: {0} reads most per second, {1} tokens; {2} is slowest, {3}.", max),
        (
            "decode_microseconds",
            "Decoding: {0} is fastest, {1} µs per token at batch 1; {2} takes longest, {3} µs.",
            min,
        ),
    ):
        known = [
            (label_of(row, summary), row["cells"][key]["mean"]) for row in summary["rows"] if row["cells"].get(key)
        ]
        if len(known) > 1:
            first = better(known, key=lambda item: item[1])
            last = (min if better is max else max)(known, key=lambda item: item[1])
            sentences.append(text.format(first[0], short_number(first[1]), last[0], short_number(last[1])))
    return sentences


def _some(names: list[str]) -> str:
    """The names; of many the first, and how many others."""
    return listed(names) if len(names) <= FEW else f"{', '.join(names[:FEW])} and {len(names) - FEW} others"


def listed(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
