"""Lag systems: a queue, and rules that read its first symbols and write at its end.

"Autoregressive Large Language Models are Computationally Universal" (2024), arXiv 2410.03170. In an (N, K)-restricted
Lag system a step reads the N leftmost symbols of the queue, appends what the rule for them says, 0 to K symbols, at the
right, and drops the leftmost one. It is what a language model does whose window of N tokens moves over its own output;
(2, 2) is enough to be universal, and with K = 1 the queue never grows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from seqmem.errors import InputError

Window = tuple[str, ...]


@dataclass(frozen=True)
class LagSystem:
    """``rules``: window of ``reads`` symbols -> at most ``writes`` symbols. It halts where there is no rule.

    Raises InputError for a rule that reads or writes another number of symbols.
    """

    rules: Mapping[Window, Window]
    reads: int = 2
    writes: int = 2

    def __post_init__(self) -> None:
        for window, output in self.rules.items():
            if len(window) != self.reads or len(output) > self.writes:
                raise InputError(
                    f"rule {window} -> {output} is not of a ({self.reads}, {self.writes})-restricted Lag system"
                )

    @property
    def symbols(self) -> list[str]:
        """All symbols of the rules, in alphabetical order."""
        return sorted({symbol for window, output in self.rules.items() for symbol in (*window, *output)})

    def truncated(self, writes: int) -> LagSystem:
        """The system whose rules write only the first ``writes`` symbols of theirs."""
        return LagSystem({window: output[:writes] for window, output in self.rules.items()}, self.reads, writes)

    def run(self, queue: Sequence[str], steps: int = 1_000_000) -> Iterator[Window]:
        """The queues from the first on, until it halts or ``steps`` are taken."""
        return run_queue(queue, self.rules.get, self.reads, steps)


def run_queue(
    queue: Sequence[str], rule: Callable[[Window], Window | None], reads: int, steps: int
) -> Iterator[Window]:
    """The queues of a system whose rules are a function, such as a network's; None halts it."""
    symbols = deque(queue)
    yield tuple(symbols)
    for _ in range(steps):
        if len(symbols) < reads:
            return
        output = rule(tuple(symbols[i] for i in range(reads)))
        if output is None:
            return
        symbols.extend(output)
        symbols.popleft()
        yield tuple(symbols)
