"""Lag systems, the compiler against the simulator, and executors that learn."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.theory import MACHINES, LagSystem, TuringMachine, compile_turing_machine, learn_rules, random_machine
from seqmem.theory.lag_compiler import encode, is_configuration
from seqmem.theory.turing import Configuration


def slow_run(machine: TuringMachine, tape: list[str], steps: int) -> list[tuple[dict[int, str], int, str]]:
    """A simulator on a dictionary of cells, where the other one has a list that grows at both ends."""
    cells, head, state, found = dict(enumerate(tape)), 0, machine.start, []
    for _ in range(steps + 1):
        found.append((dict(cells), head, state))
        rule = machine.rules.get((state, cells.get(head, machine.blank)))
        if rule is None:
            break
        cells[head] = rule[0]
        head, state = head + {"L": -1, "R": 1}[rule[1]], rule[2]
    return found


@pytest.mark.parametrize(
    ("name", "steps", "ones"), [("busy-beaver-2", 6, 4), ("busy-beaver-3", 14, 6), ("busy-beaver-4", 107, 13)]
)
def test_busy_beavers(name: str, steps: int, ones: int) -> None:
    *_, last = run = list(MACHINES[name].run())
    assert (len(run) - 1, last.tape.count("1"), last.state) == (steps, ones, "H")


@pytest.mark.parametrize("value", [0, 1, 2, 7, 11, 255])
def test_increment(value: int) -> None:
    *_, last = MACHINES["increment"].run([*f"{value:b}"[::-1], "0"])
    assert int("".join(last.tape)[::-1], 2) == value + 1


@pytest.mark.parametrize("seed", range(12))
def test_the_simulator_against_a_slow_one(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    machine = random_machine(3, 3, generator)
    tape = [str(int(i)) for i in torch.randint(3, (4,), generator=generator)]
    fast, slow = list(machine.run(tape, 40)), slow_run(machine, tape, 40)
    assert len(fast) == len(slow)
    for configuration, (cells, head, state) in zip(fast, slow, strict=True):
        assert configuration.state == state
        left = head - configuration.head
        for place, symbol in enumerate(configuration.tape):
            assert cells.get(left + place, machine.blank) == symbol
        assert all(left <= place < left + len(configuration.tape) for place in cells)


def test_a_lag_system_by_hand() -> None:
    system = LagSystem({("a", "b"): ("b", "a"), ("b", "b"): ()})
    assert list(system.run(["a", "b"])) == [("a", "b"), ("b", "b", "a"), ("b", "a")]
    assert list(system.run(["a"])) == [("a",)]
    assert len(list(system.run(["a", "b"], steps=1))) == 2
    assert system.truncated(1).rules == {("a", "b"): ("b",), ("b", "b"): ()}
    assert system.symbols == ["a", "b"]


def test_the_sizes_of_compiled_machines() -> None:
    beaver = compile_turing_machine(MACHINES["busy-beaver-4"])
    assert (len(beaver.rules), len(beaver.symbols)) == (190, 36)
    rules = {(f"q{i}", s): ("0", "R", f"q{i}") for i in range(15) for s in "01"}
    large = compile_turing_machine(TuringMachine(rules, "q0"))  # type: ignore[arg-type]
    assert len(large.rules) == 556


def test_every_configuration_of_the_beaver() -> None:
    machine = MACHINES["busy-beaver-4"]
    queues = list(compile_turing_machine(machine).run(encode(next(machine.run()))))
    assert list(filter(is_configuration, queues)) == [encode(c) for c in machine.run()]
    assert len(queues) - 1 == 2060


@pytest.mark.parametrize("seed", range(40))
def test_random_machines_match(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    machine = random_machine(1 + seed % 5, 2 + seed % 3, generator)
    tape = [machine.symbols[int(i)] for i in torch.randint(len(machine.symbols), (1 + seed % 4,), generator=generator)]
    expected = [encode(c) for c in machine.run(tape, 30)]
    run = filter(is_configuration, compile_turing_machine(machine).run(expected[0], 20_000))
    assert [next(run) for _ in expected] == expected
    if len(expected) <= 30:  # it has halted, and so must the Lag system
        assert list(run) == []


def test_both_ends_of_the_tape_grow() -> None:
    left = TuringMachine({("A", "0"): ("1", "L", "A")}, "A")
    right = TuringMachine({("A", "0"): ("1", "R", "A")}, "A")
    for machine, last in (
        (left, Configuration(("0", "1", "1"), 0, "A")),
        (right, Configuration(("1", "1", "0"), 2, "A")),
    ):
        run = filter(is_configuration, compile_turing_machine(machine).run(encode(next(machine.run()))))
        assert [next(run) for _ in range(3)][-1] == encode(last)


def test_one_symbol_a_step_never_grows() -> None:
    machine = MACHINES["busy-beaver-4"]
    start = encode(next(machine.run()))
    assert max(map(len, compile_turing_machine(machine).truncated(1).run(start, 500))) == len(start)


@pytest.mark.parametrize("mixer", ["attention", "gru"])
def test_a_network_learns_the_rules_and_runs_them(mixer: str) -> None:
    machine = MACHINES["busy-beaver-2"]
    system, expected = compile_turing_machine(machine), [encode(c) for c in machine.run()]
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    executor = learn_rules(system, seed=0, mixer=mixer, width=32, steps=200, rate=5e-3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert executor.learned(system) == 1
    run = list(executor.run(expected[0], 60, halted=lambda window: window not in system.rules))
    assert list(filter(is_configuration, run)) == expected
    wrong = LagSystem(dict.fromkeys(system.rules, ()))
    assert executor.learned(wrong) < 0.5


def test_bad_input() -> None:
    with pytest.raises(InputError, match="'S', expected 'L' or 'R'"):
        TuringMachine({("A", "0"): ("1", "S", "A")}, "A")  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"not of a \(2, 2\)-restricted"):
        LagSystem({("a", "b"): ("a", "a", "a")})
    with pytest.raises(InputError, match=r"not of a \(2, 2\)-restricted"):
        LagSystem({("a",): ()})
    with pytest.raises(InputError, match=r"'a b' names a state or symbol .* expected none of"):
        compile_turing_machine(TuringMachine({("A", "0"): ("a b", "R", "A")}, "A"))
