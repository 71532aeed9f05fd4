"""What a bench found, as sentences and as the rows of its tables.

``records`` are the plain dicts of bench.json; ``kind`` says what one holds: "time", "decode", "task", "memory",
"first_call".
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from seqmem.report.findings import listed
from seqmem.report.format import bytes_text, short_number

Record = Mapping[str, Any]
Table = tuple[str, list[str], list[list[str]]]  # title, columns, rows

BOTH = "forward+backward"
FEW = 12  # layers that a sentence can name
NEAR = 1.5  # times an LSTM cell
TOKENS = 100_000  # that a task should make in a second of processor time, at least


def of_kind(records: Sequence[Record], kind: str) -> list[Record]:
    return [r for r in records if r["kind"] == kind]


def name_of(record: Record) -> str:
    """``op`` or ``op (variant)``."""
    return f"{record['op']} ({record['variant']})" if record["variant"] else str(record["op"])


def line(record: Record) -> str:
    """One record as it comes, for somebody who waits."""
    told = record["note"] if record["status"] != "ok" else _figure(record)
    if record["kind"] == "time":
        peer = f"against {record['peer']}" if record["peer"] else "alone"
        return f"{name_of(record)}, {record['pass']}, {record['length']:,}, {peer}: {told}"
    if record["kind"] == "decode":
        after = "" if record["tokens"] is None else f" after {record['tokens']:,} tokens"
        return f"{record['mixer']}, one step{after}: {told}"
    if record["kind"] == "task":
        return f"{record['task']}, sampling: {told}"
    if record["kind"] == "memory":
        return f"{name_of(record)}, memory at {record['length']:,}, {record['peer'] or 'ours'}: {told}"
    return f"{name_of(record)}, first call: {told}"


def _figure(record: Record) -> str:
    if record["kind"] == "time":
        return ratio_text(record) if record["peer"] else own_text(record)
    if record["kind"] == "decode":
        return f"{short_number(record['ours_us'])} µs, {ratio_text(record)} of an LSTM cell"
    if record["kind"] == "task":
        return f"{_tokens(record)} tokens per CPU second at length {record['length']:,}"
    if record["kind"] == "memory":
        return bytes_text(record["extra_bytes"])
    return f"{record['empty_seconds']:.1f} s, {record['warm_seconds']:.2f} s from the cache"


def ratio_text(record: Record) -> str:
    """``11.2× (10.8–11.9)``; without a spread where there is none."""
    if record["ratio"] is None:
        return str(record["status"])
    text = f"{short_number(record['ratio'])}×"
    if record["ratio_low"] is None:
        return f"{text} (called once)"
    return f"{text} ({short_number(record['ratio_low'])}–{short_number(record['ratio_high'])})"


def own_text(record: Record) -> str:
    """``2.1 ms, 71 % of memory``."""
    share = f"{100 * record['roofline_fraction']:.0f} % of {record['roofline_limit']}"
    return f"{short_number(record['ours_ms'])} ms, {share}"


def findings(records: Sequence[Record]) -> list[str]:
    """The best peer of each op, what a yardstick says, decoding, first calls."""
    sentences = []
    times = of_kind(records, "time")
    for name in dict.fromkeys(map(name_of, times)):
        mine = [r for r in times if name_of(r) == name and r["status"] == "ok" and r["peer"]]
        if told := _best(name, [r for r in mine if not r["yardstick"]]):
            sentences.append(told)
        for peer in dict.fromkeys(r["peer"] for r in mine if r["yardstick"]):
            sentences.append(_scale(name, peer, [r for r in mine if r["peer"] == peer]))
    sentences += _decoding([r for r in of_kind(records, "decode") if r["status"] == "ok"])
    sentences += _sampling([r for r in of_kind(records, "task") if r["status"] == "ok"])
    if kept := [r for r in of_kind(records, "memory") if r["status"] == "ok" and r["peer"] is None]:
        most = max(kept, key=lambda r: r["extra_bytes"] / r["own_bytes"])
        sentences.append(
            f"A training step takes, beyond an op's inputs, its output and their gradients, at most "
            f"{most['extra_bytes'] / most['own_bytes']:.2f} times their bytes ({name_of(most)})."
        )
    starts = [r for r in of_kind(records, "first_call") if r["status"] == "ok"]
    if starts:
        warm, empty = max(starts, key=lambda r: r["warm_seconds"]), max(starts, key=lambda r: r["empty_seconds"])
        sentences.append(
            f"The first call of a process takes up to {warm['warm_seconds']:.2f} s with machine code on disk "
            f"({name_of(warm)}), up to {empty['empty_seconds']:.1f} s where it must be compiled ({name_of(empty)})."
        )
    return sentences


def _best(name: str, records: Sequence[Record]) -> str:
    parts = []
    both = [r for r in records if r["pass"] == BOTH]
    for length in sorted({r["length"] for r in both}):
        at_length = [r for r in both if r["length"] == length]
        best = min(at_length, key=lambda r: r["ratio"])
        of = f"the best of {len(at_length)} others" if len(at_length) > 1 else "the other that ran"
        parts.append(f"at {length:,} {of} takes {short_number(best['ratio'])} times as long ({best['peer']})")
    return f"{name}, forward and backward: {'; '.join(parts)}." if parts else ""


def _scale(name: str, peer: str, records: Sequence[Record]) -> str:
    """What a yardstick says, of forward and backward where it has both."""
    both = [r for r in records if r["pass"] == BOTH]
    at = listed([f"{short_number(r['ratio'])} times as long at {r['length']:,}" for r in both or records])
    return f"{name}, {'forward and backward' if both else 'forward'}: {peer}, for scale, takes {at}."


def _decoding(records: Sequence[Record]) -> list[str]:
    if not records:
        return []
    last = {r["mixer"]: r for r in records}  # the most tokens read
    dear = sorted(last.values(), key=lambda r: -r["ratio"])
    if len(dear) <= FEW:
        sentences = [f"One step at batch 1, over torch's LSTM cell at the same width: {_each(dear)}."]
    else:
        kept = [r for r in dear if r["memory"] != "linear"]  # the state does not grow
        near, middle = sum(r["ratio"] <= NEAR for r in kept), statistics.median(r["ratio"] for r in kept)
        sentences = [
            f"One step at batch 1 takes at most {NEAR:g} times as long as torch's LSTM cell at the same width in "
            f"{near} of {len(kept)} layers whose state does not grow, {short_number(middle)} times at the median; the "
            f"dearest: {_each(kept[:FEW])}."
        ]
    if grown := [r for r in dear if abs(r["flatness"] - 1) > 0.1]:
        told = listed([f"{r['mixer']} {r['flatness']:.2f} times after {r['tokens']:,}" for r in grown])
        sentences.append(f"Steps that change by more than a tenth with what was read: {told} tokens.")
    else:
        sentences.append("No layer's step changes by more than a tenth with what was read.")
    return sentences


def _each(steps: Sequence[Record]) -> str:
    return listed([f"{r['mixer']} {short_number(r['ratio'])}" for r in steps])


def _sampling(records: Sequence[Record]) -> list[str]:
    if not records:
        return []
    slow = sorted((r for r in records if r["tokens_per_cpu_second"] < TOKENS), key=lambda r: r["tokens_per_cpu_second"])
    if slow:
        told = listed([f"{r['task']} {_tokens(r)}" for r in slow])
        return [f"Tasks that make less than {TOKENS:,} tokens in a second of processor time: {told}."]
    least = min(records, key=lambda r: r["tokens_per_cpu_second"])
    return [
        f"The tasks make at least {TOKENS:,} tokens in a second of processor time; the least is {_tokens(least)} "
        f"({least['task']})."
    ]


def _tokens(record: Record) -> str:
    return short_number(record["tokens_per_cpu_second"])


def problems(records: Sequence[Record]) -> list[str]:
    """What failed, what differs, what is not installed; each said once."""
    told: dict[str, None] = {}
    for r in records:
        if r["status"] in ("failed", "differs"):
            told[line(r)] = None
        elif r["status"] == "not installed":
            told[f"{r['peer']}: {r['note']}"] = None
    return list(told)


def summary_rows(records: Sequence[Record]) -> list[Table]:
    """The tables: speed, decoding, tasks, memory, first calls; those that have rows."""
    tables = [_speed(records), _steps(records), _tasks(records), _memory(records), _first_calls(records)]
    return [table for table in tables if table[2]]


def _speed(records: Sequence[Record]) -> Table:
    times = of_kind(records, "time")
    columns = sorted({(r["pass"], r["length"]) for r in times})
    found = {(name_of(r), r["peer"], r["pass"], r["length"]): r for r in times}
    rows = []
    for name, peer in dict.fromkeys((name_of(r), r["peer"]) for r in times):
        cells = []
        for column in columns:
            record = found.get((name, peer, *column))
            if record is None:
                cells.append("–")
            else:
                cells.append(ratio_text(record) if peer else own_text(record))
        rows.append([f"    {peer}" if peer else name, *cells])
    return "Speed", ["op, and beneath it each other", *(f"{p}, {n:,}" for p, n in columns)], rows


def _steps(records: Sequence[Record]) -> Table:
    decodes = [r for r in of_kind(records, "decode") if r["tokens"] is not None]
    columns = sorted({r["tokens"] for r in decodes})
    rows = []
    for mixer in dict.fromkeys(r["mixer"] for r in decodes):
        mine = {r["tokens"]: r for r in decodes if r["mixer"] == mixer}
        done = [r for r in mine.values() if r["status"] == "ok"]
        cells = [
            short_number(mine[n]["ours_us"]) if n in mine and mine[n]["status"] == "ok" else "not reached"
            for n in columns
        ]
        rows.append([mixer, *cells, *([ratio_text(done[-1]), f"{done[-1]['flatness']:.2f}×"] if done else ["–", "–"])])
    return (
        "One step, batch 1 (µs)",
        ["layer", *(f"after {n:,}" for n in columns), "over LSTM cell", "last over first"],
        rows,
    )


def _tasks(records: Sequence[Record]) -> Table:
    rows = [
        [r["task"], f"{r['length']:,}", f"{r['rows']:,}", _tokens(r)]
        for r in of_kind(records, "task")
        if r["status"] == "ok"
    ]
    return "Sampling of tasks", ["task", "length", "rows", "tokens per CPU second"], rows


def _memory(records: Sequence[Record]) -> Table:
    memory = [r for r in of_kind(records, "memory") if r["status"] == "ok"]
    rows = [
        [
            f"    {r['peer']}" if r["peer"] else name_of(r),
            bytes_text(r["extra_bytes"]),
            f"{r['extra_bytes'] / r['own_bytes']:.2f}×",
        ]
        for r in memory
    ]
    length = f" at {memory[0]['length']:,}" if memory else ""
    return f"Memory of forward and backward{length}", ["op", "extra", "over its own tensors"], rows


def _first_calls(records: Sequence[Record]) -> Table:
    rows = [
        [name_of(r), f"{r['empty_seconds']:.1f} s", f"{r['warm_seconds']:.2f} s"]
        for r in of_kind(records, "first_call")
        if r["status"] == "ok"
    ]
    return "First call of a process", ["op", "nothing compiled", "machine code on disk"], rows
