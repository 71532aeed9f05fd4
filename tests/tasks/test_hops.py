"""Hops against a reader that follows the links one by one."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.hops import Hops


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hops": 4},
        {"hops": (1, 3), "chains": 3, "links": 3, "vocabulary": 20},
        {"hops": (2,), "chains": 1, "links": 7},
    ],
)
@pytest.mark.parametrize("more", [0, 10])
def test_answers_are_so_many_links_on(generator: torch.Generator, options: dict, more: int) -> None:
    task = Hops(**options)
    length = task.train_length + more
    batch = task.sample(50, length, generator)
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        context, questions = inputs[: task.context], inputs[task.context :]
        after = dict(zip(context[::2], context[1::2], strict=True))
        assert len(after) == len(set(after.values())) == task.chains * task.links
        heads = set(after) - set(after.values())
        assert len(heads) == task.chains
        for head in heads:
            for _ in range(task.links):
                head = after[head]
            assert head not in after
        hops = [token - task.vocabulary + 1 for token in questions[::2]]
        counts = [hops.count(one) for one in task.hops]
        assert sum(counts) == len(hops)
        assert max(counts) - min(counts) <= 1
        for n, (hop, symbol) in enumerate(zip(hops, questions[1::2], strict=True)):
            for _ in range(hop):
                symbol = after[symbol]
            assert targets[task.context + 2 * n + 1] == symbol
        assert targets[: task.context + 1] == [IGNORE] * (task.context + 1)
        assert targets[task.context :: 2] == [IGNORE] * len(hops)


@pytest.mark.parametrize("options", [{"hops": (1, 2, 4)}, {"hops": 2, "chains": 3, "links": 3, "vocabulary": 20}])
def test_all_symbols_are_asked_at_all_hops(generator: torch.Generator, options: dict) -> None:
    task = Hops(**options)
    asked = task.ask_all(50, generator)
    for inputs, answers in zip(asked.inputs.tolist(), asked.answers.tolist(), strict=True):
        context, symbols = inputs[: task.context], inputs[task.context :]
        after = dict(zip(context[::2], context[1::2], strict=True))
        assert len(after) == len(set(after.values())) == task.chains * task.links
        assert sorted(symbols) == sorted(set(context))
        for start, answer in zip(symbols, answers, strict=True):
            for hops, said in zip(task.hops, answer, strict=True):
                symbol = start
                for _ in range(hops):
                    symbol = after.get(symbol, IGNORE)
                assert said == symbol
        for n, hops in enumerate(task.hops):
            assert sum(answer[n] != IGNORE for answer in answers) == task.chains * (task.links + 1 - hops)
    symbols = asked.inputs[:, task.context :]
    assert (symbols[:, :2] != asked.inputs[:, :2]).any()  # not in the order of the links


def test_questions_and_links_are_evenly_drawn(generator: torch.Generator) -> None:
    task = Hops(hops=2, chains=2, links=3, length=44)
    batch = task.sample(2000, 44, generator)
    asked = batch.inputs[:, 13::2]
    first = (batch.inputs[:, 0:12:2, None] == asked[:, None]).long().argmax(1)  # which link of the context begins so
    share = torch.bincount(first.flatten(), minlength=6) / first.numel()
    assert (share - 1 / 6).abs().max() < 0.02
    assert (torch.bincount(asked.flatten(), minlength=8) / asked.numel() - 1 / 8).abs().max() < 0.02


def test_chance_is_what_a_blind_guess_scores(generator: torch.Generator) -> None:
    task = Hops()
    targets = task.sample(2000, task.train_length, generator).targets
    targets = targets[targets != IGNORE]
    assert torch.bincount(targets).max().item() / len(targets) == pytest.approx(task.chance, abs=0.01)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hops": 5}, "links=4 with hops=[5], expected chains of at least 5 links"),
        ({"hops": 0}, "hops=0, expected at least 1"),
        ({"chains": 0}, "chains=0, expected at least 1"),
        ({"vocabulary": 9}, "vocabulary=9, expected at least 10"),
        ({"length": 17}, "length=17, expected an even number of at least 20"),
        ({"length": 18}, "length=18, expected an even number of at least 20"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        Hops(**options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_example_shows_links_and_questions(generator: torch.Generator) -> None:
    links, questions = Hops().example(generator).split("  |  ")
    after = dict(link.split(">") for link in links.split("  "))
    for question in questions.split("  "):
        hop, _, symbol, _, answer = question.replace("?", "").split()
        for _ in range(int(hop)):
            symbol = after[symbol]
        assert symbol == answer
