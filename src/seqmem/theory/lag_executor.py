"""A small language model that learns the rules of a Lag system, and carries out its run by greedy decoding.

"Autoregressive Large Language Models are Computationally Universal" (2024), arXiv 2410.03170.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from seqmem.models import SequenceConfig, SequenceLM
from seqmem.theory.lag_system import LagSystem, Window, run_queue

IGNORED = -100


class LearnedRules:
    """A language model in place of the rules: the window is its prompt, what it writes before STOP is the output.

    ``rules(window)`` gives the output symbols, greedily decoded; ``run(queue)`` the whole run.
    """

    def __init__(self, model: SequenceLM, system: LagSystem) -> None:
        self.model, self.reads, self.writes = model, system.reads, system.writes
        self.symbols = system.symbols
        self.token = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.stop = len(self.symbols)

    @torch.no_grad()
    def __call__(self, window: Window) -> Window:
        tokens, output = [self.token[symbol] for symbol in window], []
        for _ in range(self.writes):
            logits = self.model(torch.tensor([tokens])).logits  # (1, time, vocabulary)
            token = int(logits[0, -1].argmax())
            if token == self.stop:
                break
            tokens.append(token)
            output.append(self.symbols[token])
        return tuple(output)

    def learned(self, system: LagSystem) -> float:
        """The part of the system's rules that are carried out exactly."""
        return sum(self(window) == output for window, output in system.rules.items()) / len(system.rules)

    def run(self, queue: Sequence[str], steps: int, halted: Callable[[Window], bool]) -> Iterator[Window]:
        """The queues of the run; ``halted(window)`` says where to stop, as a network always has an answer."""
        return run_queue(queue, lambda window: None if halted(window) else self(window), self.reads, steps)


def learn_rules(
    system: LagSystem,
    *,
    seed: int,
    mixer: str = "attention",
    width: int = 64,
    layers: int = 2,
    steps: int = 400,
    rate: float = 3e-3,
    report: Callable[[float, str], None] | None = None,
) -> LearnedRules:
    """Train a language model on all rules at once with Adam, until it knows each well or ``steps`` are over."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SequenceLM(SequenceConfig(vocab_size=len(system.symbols) + 1, width=width, layers=[mixer] * layers))
    executor = LearnedRules(model, system)
    inputs, targets = _examples(executor, system)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    asked = targets != IGNORED
    for step in range(steps):
        logits = model(inputs).logits  # (rules, time, vocabulary)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        now = loss.item()
        if report is not None:
            report(step / steps, f"{mixer}, loss {now:.4f}")
        if now < 0.01 and bool((logits.argmax(-1) == targets)[asked].all()):
            break
    model.eval()
    return executor


def _examples(executor: LearnedRules, system: LagSystem) -> tuple[Tensor, Tensor]:
    """Every rule as a line of text, window then output then STOP: inputs and targets, ``(rules, time)`` each."""
    inputs, targets = [], []
    for window, output in system.rules.items():
        written = [executor.token[symbol] for symbol in output] + [executor.stop]
        line = ([executor.token[symbol] for symbol in window] + written)[: system.reads + system.writes]
        asked = [IGNORED] * (system.reads - 1) + line[system.reads :]
        line, length = line[:-1], system.reads + system.writes - 1
        inputs.append(line + [executor.stop] * (length - len(line)))
        targets.append(asked + [IGNORED] * (length - len(asked)))
    return torch.tensor(inputs), torch.tensor(targets)
