"""A whole bench: speed, then decoding, tasks, memory, first calls; records handed over as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from seqmem.bench.cases import Case
from seqmem.bench.decode import measure_decoding
from seqmem.bench.first_call import measure_first_call
from seqmem.bench.memory import measure_memory
from seqmem.bench.peers import PASSES
from seqmem.bench.sampling import measure_sampling
from seqmem.bench.speed import Record, measure_case

MEMORY_SECONDS = 5.0  # a peer whose pass takes longer is not asked for its memory


def run_bench(
    cases: Sequence[Case],
    mixers: Sequence[str],
    tasks: Sequence[str],
    lengths: Sequence[int],
    *,
    seconds: float,
    peers: bool,
    on_record: Callable[[Record], None],
) -> None:
    """Measure ``cases`` at ``lengths``, decoding of ``mixers`` and the sampling of ``tasks``, about ``seconds`` for
    each pair, with the threads that torch has now. Memory is measured at the greatest length, of the ops and of the
    peers that agreed there."""
    longest = max(lengths)
    agreed: dict[str, list[str]] = {case.name: [] for case in cases}
    for case in cases:
        for length in lengths:
            for record in measure_case(case, length, seconds, peers):
                if length == longest and _worth_its_memory(record):
                    agreed[case.name].append(record["peer"])
                on_record(record)
    for name in mixers:
        for record in measure_decoding(name, seconds):
            on_record(record)
    for name in tasks:
        on_record(measure_sampling(name, seconds))
    for case in cases:
        for record in measure_memory(case, longest, agreed[case.name]):
            on_record(record)
    for case in cases:
        on_record(measure_first_call(case))


def _worth_its_memory(r: Record) -> bool:
    compared = r["peer"] is not None and not r["yardstick"] and r["pass"] == PASSES[1] and r["status"] == "ok"
    return compared and r["peer_ms"] < 1e3 * MEMORY_SECONDS
