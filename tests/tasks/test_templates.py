"""Templates against a reader that tries every template and substitution."""

from __future__ import annotations

import itertools

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.templates import BLANK, KINDS, Templates

OWN = ("aBa->a", "abB->YES", "a->NO7")


def answers(string: list[int], templates: tuple[str, ...], words: dict[str, int]) -> set[int]:
    """What any template says of a string of tokens, under any distinct values of its wildcards."""
    found = set()
    for template in templates:
        form, answer = template.split("->")
        names = sorted({letter for letter in form if letter.islower()})
        for values in itertools.permutations(set(string) - set(words.values()), len(names)):
            means = words | dict(zip(names, values, strict=True))
            if [means[letter] for letter in form] == string:
                found.add(means[answer])
    return found


@pytest.mark.parametrize("kind", [*KINDS, "own"])
@pytest.mark.parametrize("more", [0, 5])
def test_the_answer_is_the_templates(generator: torch.Generator, kind: str, more: int) -> None:
    templates = OWN if kind == "own" else KINDS[kind]
    task = Templates(kind, templates=OWN if kind == "own" else (), symbols=7, unseen=5)
    words = {word: 1 + n for n, word in enumerate(task.words)}
    batch = task.sample(150, task.length + more, generator, split="test")
    assert batch.groups is not None
    assert batch.groups.double().mean() == pytest.approx(0.5, abs=0.05)
    for inputs, targets, group in zip(
        batch.inputs.tolist(), batch.targets.tolist(), batch.groups.tolist(), strict=True
    ):
        string = [token for token in inputs if token != BLANK]
        assert inputs[-1] != BLANK
        assert targets[:-1] == [IGNORE] * (len(inputs) - 1)
        assert answers(string, templates, words) == {targets[-1]}
        places = [token - task.first_symbol for token in string if token >= task.first_symbol]
        assert all(0 <= n < 7 if group == 0 else 7 <= n < 12 for n in places)


def test_training_never_shows_unseen_symbols(generator: torch.Generator) -> None:
    task = Templates("other", symbols=9, unseen=4)
    batch = task.sample(2000, 3, generator)
    assert batch.groups is not None
    assert not batch.groups.any()
    seen = batch.inputs.unique().tolist()
    assert seen == list(range(task.first_symbol, task.first_symbol + 9))
    held_out = task.sample(2000, 3, generator, split="validation")
    assert len(held_out.inputs.unique()) == 13


def test_templates_symbols_and_places_are_equally_likely(generator: torch.Generator) -> None:
    task = Templates("same", symbols=6, unseen=3)
    batch = task.sample(6000, 6, generator)
    assert batch.targets[:, -1].double().mean() == pytest.approx(1.5, abs=0.01)  # labels 0 and 1 are tokens 1 and 2
    share = torch.bincount(batch.inputs[:, -1] - task.first_symbol, minlength=6) / 6000
    assert (share - 1 / 6).abs().max() < 0.03
    place = (batch.inputs[:, :-1] != BLANK).double().mean(0)
    assert (place - 1 / 5).abs().max() < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_chance_is_what_a_blind_guess_scores(generator: torch.Generator, kind: str) -> None:
    task = Templates(kind, symbols=5)
    targets = task.sample(6000, task.length, generator).targets[:, -1]
    assert torch.bincount(targets).max().item() / 6000 == pytest.approx(task.chance, abs=0.02)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "sme"}, "Did you mean 'same'"),
        ({"kind": "own"}, "expected a list of templates"),
        ({"templates": ["aa->1"]}, "kind='same' with templates"),
        ({"kind": "own", "templates": "aa->1"}, "expected a list of templates"),
        ({"kind": "own", "templates": ["aa->b"]}, "template 'aa->b', expected small letters"),
        ({"kind": "own", "templates": ["a1->a"]}, "template 'a1->a', expected small letters"),
        ({"kind": "own", "templates": ["aba->a", "cdc->d"]}, "'cdc' is a string of another template too"),
        ({"kind": "count", "symbols": 2}, "symbols=2, expected at least 3"),
        ({"unseen": 0}, "unseen=0, expected at least 2"),
        ({"kind": "pairs", "length": 3}, "length=3 is too short, expected at least 4"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        Templates(**options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_example_shows_string_and_answer(generator: torch.Generator) -> None:
    string, answer = Templates("other").example(generator).split("->")
    a, b, c = string.split()
    assert answer.strip() == (b if c == a else a)
