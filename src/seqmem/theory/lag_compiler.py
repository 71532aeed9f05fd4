"""From a Turing machine to a (2, 2)-restricted Lag system that does the same, step by step.

The construction is our own, smaller than the one in "Autoregressive Large Language Models are Computationally
Universal" (2024), arXiv 2410.03170. The tape is a queue ``# c1 ... cn``; the cell under the head is one symbol that
holds the state too, and every symbol carries a phase, 0 or 1. One step of the machine is two sweeps over the queue:

    phase 0 -> 1   copies the FIRST symbol of the window and looks ahead at the second: the cell before the head takes
                   over on a left move; a right move leaves a note, "pending", in the cell that the head leaves
    phase 1 -> 0   copies the SECOND symbol and looks back at the first: a cell after a pending one takes the head

Two symbols are written only at ``#``: to make a new cell at the left end, or to start the second sweep. At the right
end the second sweep writes nothing, or a new cell where the head leaves the tape.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from seqmem.errors import InputError
from seqmem.theory.lag_system import LagSystem, Window
from seqmem.theory.turing import Configuration, TuringMachine

END = "#"


def compile_turing_machine(machine: TuringMachine) -> LagSystem:
    """The Lag system of a machine; it halts where the machine does. Raises InputError for names with signs of ours."""
    for name in (*machine.states, *machine.symbols):
        if not name or set(name) & set(" :>#"):
            raise InputError(
                f"'{name}' names a state or symbol of the machine; expected none of ' ', ':', '>', '#' in it"
            )
    plain: list[Cell] = list(machine.symbols)
    heads: list[Cell] = list(product(machine.states, machine.symbols))
    pending: list[Cell] = [(symbol, "->", state) for state, symbol in product(machine.states, machine.symbols)]
    rules: dict[Window, Window] = {}
    for first, second in _windows_of_phase_0(plain, heads):
        output = _ahead(machine, first, second)
        if output is not None:
            rules[_text(first, 0), _text(second, 1 if second == END else 0)] = tuple(_text(s, 1) for s in output)
    for first, second in _windows_of_phase_1(plain, heads, pending):
        output = _back(machine, first, second)
        rules[_text(first, 1), _text(second, 0 if second == END else 1)] = tuple(_text(s, 0) for s in output)
    return LagSystem(rules)


def encode(configuration: Configuration) -> Window:
    """The queue of a configuration, at the start of a step."""
    cells: list[Cell] = list(configuration.tape)
    cells[configuration.head] = (configuration.state, configuration.tape[configuration.head])
    return tuple(_text(cell, 0) for cell in (END, *cells))


def is_configuration(queue: Sequence[str]) -> bool:
    """Whether a queue stands at the start of a step, so that it says a configuration of the machine."""
    return queue[0] == _text(END, 0) and all(symbol.endswith(" 0") for symbol in queue)


Cell = str | tuple[str, str] | tuple[str, str, str]  # END or a plain symbol; (state, symbol); (symbol, "->", state)


def _windows_of_phase_0(plain: list[Cell], heads: list[Cell]) -> list[tuple[Cell, Cell]]:
    return [
        *product([END], [*plain, *heads]),
        *product(plain, [*plain, *heads, END]),
        *product(heads, [*plain, END]),
    ]  # fmt: skip


def _windows_of_phase_1(plain: list[Cell], heads: list[Cell], pending: list[Cell]) -> list[tuple[Cell, Cell]]:
    return [
        *product([END], [*plain, *heads, *pending]),
        *product(plain, [*plain, *heads, *pending, END]),
        *product(heads, [*plain, END]),
        *product(pending, [*plain, END]),
    ]


def _ahead(machine: TuringMachine, first: Cell, second: Cell) -> tuple[Cell, ...] | None:
    """What the first sweep writes for the window; None where the machine halts."""
    taken = None  # the state in which a head on the second cell moves to the first
    if isinstance(second, tuple):
        rule = machine.rules.get((second[0], second[1]))
        taken = rule[2] if rule is not None and rule[1] == "L" else None
    if isinstance(first, tuple):
        rule = machine.rules.get((first[0], first[1]))
        if rule is None:
            return None
        symbol, move, state = rule
        return ((symbol, "->", state),) if move == "R" else (symbol,)
    if first == END:
        return (END,) if taken is None else (END, (taken, machine.blank))
    return (first,) if taken is None else ((taken, first),)


def _back(machine: TuringMachine, first: Cell, second: Cell) -> tuple[Cell, ...]:
    """What the second sweep writes for the window."""
    arriving = first[2] if len(first) == 3 and isinstance(first, tuple) else None
    if second == END:
        return () if arriving is None else ((arriving, machine.blank),)
    copy: Cell = second[0] if len(second) == 3 and isinstance(second, tuple) else second
    if arriving is not None:
        copy = (arriving, str(copy))
    return (END, copy) if first == END else (copy,)


def _text(cell: Cell, phase: int) -> str:
    """The symbol as text: "1 0" a plain 1 in phase 0, "A:1 0" under the head in state A, "1->A 1" pending."""
    match cell:
        case (symbol, "->", state):
            return f"{symbol}->{state} {phase}"
        case (state, symbol):
            return f"{state}:{symbol} {phase}"
    return f"{cell} {phase}"
