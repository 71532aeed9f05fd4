"""SCAN against a translator that rewrites strings, the grammar read as sets, and the digest of the published file."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.scan import BLANK, DIVISIONS, EQUALS, TOKENS, Scan, commands, divided, interpret, laid_out

#: SHA-256 of the sorted lines of tasks.txt, https://github.com/brendenlake/SCAN
PUBLISHED = "345bff3c25864652f326ba1960aa515d156b63f45067ea57268f71d7362a2440"


def rewritten(command: str) -> list[str]:
    """The actions, by replacing parts of the string until only actions are left."""
    text = re.sub(r"(.+) after (.+)", r"\2 and \1", command)
    text = re.sub(r"(\w+) around (left|right)", r"\1 \2 \1 \2 \1 \2 \1 \2", text)
    text = re.sub(r"(\w+) opposite (left|right)", r"turn \2 \1 \2", text)
    text = re.sub(r"(\w+) (left|right)", lambda m: f"I_TURN_{m[2].upper()} {m[1]}", text)
    parts = []
    for part in text.split(" and "):
        times = 3 if part.endswith(" thrice") else 2 if part.endswith(" twice") else 1
        parts += times * re.sub(r" (twice|thrice)$", "", part).split()
    return [word if word.startswith("I_") else f"I_{word.upper()}" for word in parts if word != "turn"]


def published(action: str) -> str:
    return {"LTURN": "I_TURN_LEFT", "RTURN": "I_TURN_RIGHT"}.get(action, f"I_{action}")


def test_every_command_means_what_the_rewriting_says() -> None:
    for command in commands():
        assert [published(action) for action in interpret(command)] == rewritten(command), command


def test_the_domain_is_the_published_one() -> None:
    lines = sorted(f"IN: {c} OUT: {' '.join(published(a) for a in interpret(c))}" for c in commands())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == PUBLISHED
    assert len(set(commands())) == 20_910
    joined = [c for c in commands() if " and " in c or " after " in c]
    assert len(commands()) - len(joined) == 102
    assert len({c for c in commands() if not re.search("and|after|twice|thrice", c)}) == 34
    sizes = Counter(len(interpret(c)) for c in commands())
    assert max(sizes) == 48
    assert sizes[23] == 0


@pytest.mark.parametrize(
    ("division", "pattern", "sizes"),
    [
        ("length", None, (16_990, 3_920)),
        ("add_jump", r"\bjump\b", (13_204, 7_706)),
        ("add_turn_left", r"turn left", (19_702, 1_208)),
        ("right", r"(walk|look|run|jump) right", (15_225, 4_476)),
        ("opposite_right", r"(walk|look|run|jump) opposite right", (15_225, 4_476)),
        ("around_right", r"(walk|look|run|jump) around right", (15_225, 4_476)),
        ("jump_around_right", r"jump around right", (18_528, 1_173)),
    ],
)
def test_divisions_are_the_published_ones(division: str, pattern: str | None, sizes: tuple[int, int]) -> None:
    train, test, often = divided(division)
    assert (len(train), len(test)) == sizes
    assert not set(train.tolist()) & set(test.tolist())
    alone = commands()[often] if often is not None else None
    assert alone == {"add_jump": "jump", "add_turn_left": "turn left"}.get(division)
    for side, indices in ((False, train), (True, test)):
        for command in (commands()[n] for n in indices.tolist()):
            held = len(interpret(command)) > 22 if pattern is None else bool(re.search(pattern, command))
            assert held == side or command == alone
            if pattern is not None and alone is None:
                assert not re.search(pattern.rpartition(")")[2].removeprefix("jump").join(["turn", r"\b"]), command)


def test_the_simple_division_keeps_its_share() -> None:
    for percent in (1, 64, 80):
        train, test, _ = divided("simple", percent)
        assert len(train) == round(209.1 * percent)
        assert sorted([*train.tolist(), *test.tolist()]) == list(range(20_910))
    assert not torch.equal(divided("simple").train.sort().values, torch.arange(16_728))


@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_sequences_say_the_command_and_ask_for_its_actions(
    generator: torch.Generator, division: str, split: str
) -> None:
    task = Scan(division)
    batch = task.sample(40, task.train_length, generator, split=split)  # type: ignore[arg-type]
    known = divided(division)
    allowed = {commands()[n] for n in (known.test if split == "test" else known.train).tolist()}
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        sign = inputs.index(EQUALS)
        command = " ".join(TOKENS[token] for token in inputs[:sign])
        assert command in allowed
        answer = [TOKENS[token] for token in targets if token != IGNORE]
        assert answer == [*interpret(command), "end"]
        stop = sign + len(answer)
        assert targets == [IGNORE] * sign + targets[sign:stop] + [IGNORE] * (len(targets) - stop)
        assert inputs[sign + 1 : stop] == targets[sign : stop - 1]
        assert set(inputs[stop:]) <= {BLANK}


def test_a_primitive_alone_is_a_tenth_of_training(generator: torch.Generator) -> None:
    drawn = Scan("add_jump").draw(20_000, generator)
    assert (drawn == commands().index("jump")).double().mean() == pytest.approx(0.1, abs=0.01)


def test_chance_is_what_a_blind_guess_scores() -> None:
    targets = laid_out(torch.arange(20_910)).targets
    answers = targets[targets != IGNORE]
    assert torch.bincount(answers).max().item() / len(answers) == pytest.approx(Scan().chance)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "jump jump",
        "turn",
        "turn twice",
        "jump left right",
        "walk and",
        "run thrice twice",
        "hop",
        "walk and run and look",
    ],
)
def test_what_the_grammar_has_not_is_refused(command: str) -> None:
    with pytest.raises(InputError, match="is not in the grammar"):
        interpret(command)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"division": "lenght"}, "Did you mean 'length'"),
        ({"percent": 0}, "percent=0, expected at least 1"),
        ({"percent": 100}, "percent=100, expected at most 99"),
        ({"division": "length", "percent": 20}, "percent=20 with division='length'"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        Scan(**options)
    assert says in str(error.value)
    with pytest.raises(InputError, match="length=20, expected 58"):
        Scan().sample(2, 20, torch.Generator())


def test_example_shows_command_and_actions(generator: torch.Generator) -> None:
    command, actions = Scan().example(generator).split("  ->  ")
    assert tuple(actions.split()) == interpret(command)
