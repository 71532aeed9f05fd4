"""Tree or line: both rules by a parser that reads the words alone, ambiguity in training, measures."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks._phrases import INFLECTED, NOUNS
from seqmem.tasks.base import IGNORE
from seqmem.tasks.tree_or_line import TreeOrLine, regime, shares, total_variation

SINGULAR = {one for one, _ in NOUNS}
NOUN = {noun for pair in NOUNS for noun in pair}
AUXILIARIES = {"does": 0, "do": 1, "doesn't": 0, "don't": 1}
TRANSITIVE = {"see", "like", "hear", "know"} | {form for forms in INFLECTED["tv"] for form in forms}
PRESENT = {past: forms for group in INFLECTED.values() for past, *forms in group}


class Parser:
    """A sentence read word by word: where its verbs and auxiliaries are, which nouns they belong to, and which of them
    is the main clause's."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.at = words, 0
        self.belongs: dict[int, int] = {}  # verb or auxiliary -> its noun
        self.inside: set[int] = set()  # nouns, verbs and auxiliaries within a clause
        subject = self.noun_phrase()
        self.subject_clause = "that" in words[: self.at]
        self.main = self.verb_phrase(subject)
        assert words[self.at :] == ["."]

    def noun_phrase(self) -> int:
        assert self.words[self.at] in ("the", "some")
        noun = self.at + 1
        assert self.words[noun] in NOUN
        self.at += 2
        if self.words[self.at] == "near":
            self.at += 1
            self.noun_phrase()
        elif self.words[self.at] == "that":
            self.at += 1
            if self.words[self.at] in ("the", "some"):
                self.verb(self.noun_phrase())
            else:
                self.verb_phrase(noun)
        return noun

    def verb(self, noun: int) -> int:
        first = self.at
        if self.words[self.at] in AUXILIARIES:
            self.belongs[self.at] = noun
            self.at += 1
        self.belongs[self.at] = noun
        self.at += 1
        return first

    def verb_phrase(self, noun: int) -> int:
        first = self.verb(noun)
        if self.words[self.at - 1] in TRANSITIVE and self.words[self.at] in ("the", "some"):
            self.noun_phrase()
        return first


def parts(task: TreeOrLine, tokens: list[int]) -> tuple[list[str], str, list[str]]:
    """The sentence, same or change, and what is said second."""
    words = [task.words[token] for token in tokens if token]
    at = next(n for n, word in enumerate(words) if word in ("same", "change"))
    return words[:at], words[at], words[at + 1 :]


def asked_by(rule: str, kind: str, words: list[str]) -> list[str]:
    """What the tree's rule or the line's makes of a sentence."""
    parsed = Parser(words)
    if kind == "question":
        first = next(n for n, word in enumerate(words) if word in AUXILIARIES)
        moved = parsed.main if rule == "tree" else first
        rest = [word for n, word in enumerate(words) if n != moved]
        return [words[moved], *rest[:-1], "?"]
    said = []
    for n, word in enumerate(words):
        nearest = max((m for m in range(n) if words[m] in NOUN), default=0)
        noun = parsed.belongs.get(n, 0) if rule == "tree" else nearest
        said.append(PRESENT[word][words[noun] not in SINGULAR] if n in parsed.belongs else word)
    return said


@pytest.mark.parametrize("types", [3, 9])
@pytest.mark.parametrize("kind", ["question", "tense"])
def test_training_leaves_the_rule_open(generator: torch.Generator, kind: str, types: int) -> None:
    task = TreeOrLine(kind, types=types)  # type: ignore[arg-type]
    batch = task.sample(400, task.train_length, generator)
    assert batch.groups is not None
    skeletons = set()
    for inputs, targets, changed in zip(*(part.tolist() for part in batch), strict=True):
        last = [target for target in targets if target != IGNORE][-1]
        words, sign, second = parts(task, [*(token for token in inputs if token), last])
        assert (sign == "change") == changed
        if changed:
            assert not Parser(words).subject_clause
            assert second == asked_by("tree", kind, words) == asked_by("line", kind, words)
        else:
            assert second == words
        if kind == "question":  # auxiliaries agree with their nouns
            belongs = Parser(words).belongs
            assert all(
                AUXILIARIES[words[n]] == (words[noun] not in SINGULAR) for n, noun in belongs.items() if
                words[n] in AUXILIARIES
            )  # fmt: skip
        skeletons.add(tuple("N" if word in NOUN else word if word in ("that", "near") else "" for word in words))
        whole = [token for token in inputs if token]
        assert [target for target in targets if target != IGNORE] == [*whole[1:], last]
    assert len(skeletons) > types


@pytest.mark.parametrize("kind", ["question", "tense"])
def test_the_contest_has_both_rules_answers(generator: torch.Generator, kind: str) -> None:
    task = TreeOrLine(kind)  # type: ignore[arg-type]
    for length in task.test_lengths:
        contest = task.contest(120, length, generator)
        for inputs, tree, line in zip(*(part.tolist() for part in contest), strict=True):
            (at,) = [n for n, target in enumerate(tree) if target != IGNORE]
            assert [n for n, target in enumerate(line) if target != IGNORE] == [at]
            words, sign, second = parts(task, inputs)
            assert sign == "change"
            place = at - len(words)  # within what is said second
            answers = [task.words[row[at]] for row in (tree, line)]
            assert answers[0] == asked_by("tree", kind, words)[place]
            assert answers[1] == asked_by("line", kind, words)[place]
            assert answers[0] != answers[1]
            assert second[:place] == asked_by("tree", kind, words)[:place]
            assert place == (0 if kind == "question" else Parser(words).main)
            assert Parser(words).subject_clause or kind == "tense"
        if length > task.train_length:  # as many clauses within clauses as there is room for
            assert int((contest.inputs != 0).sum(1).max()) > length - 12


def test_the_share_of_centre_embedded_sentences(generator: torch.Generator) -> None:
    for center in (0.0, 0.25, 1.0):
        task = TreeOrLine(center=center, changed=0.0, embedded=1.0)
        rows = task.sample(600, task.train_length, generator).inputs.tolist()
        found = [Parser(parts(task, row)[0]).subject_clause for row in rows]
        assert sum(found) / 600 == pytest.approx(center, abs=0.06 * (0 < center < 1))
    task = TreeOrLine(changed=0.3, embedded=0.0)
    batch = task.sample(600, task.train_length, generator)
    assert batch.groups is not None
    assert batch.groups.double().mean() == pytest.approx(0.3, abs=0.06)
    same = batch.inputs[batch.groups == 0]
    assert not (same == task.words.index("that")).any()


def test_so_many_items_and_no_more(generator: torch.Generator) -> None:
    task = TreeOrLine(items=40)
    rows = {tuple(row) for row in task.sample(2000, task.train_length, generator).inputs.tolist()}
    assert 36 <= len(rows) <= 40
    other = TreeOrLine(items=40, table=1).sample(2000, task.train_length, generator).inputs.tolist()
    assert len(rows & {tuple(row) for row in other}) < 5
    with pytest.raises(InputError, match="more than these options have"):
        TreeOrLine(kind="tense", items=2000, types=1, embedded=0.0, changed=0.0).sample(2, 20, generator)


def test_who_follows_a_rule_gets_all_of_its_share(generator: torch.Generator) -> None:
    task = TreeOrLine()
    contest = task.contest(50, task.train_length, generator)

    def says(answers: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(answers.clamp_min(0), task.vocab_size).float()

    assert shares(lambda ids: says(contest.tree), contest) == (1, 0, 0)
    assert shares(lambda ids: says(contest.line), contest) == (0, 1, 0)
    assert shares(lambda ids: says(torch.zeros_like(ids)), contest) == (0, 0, 1)
    assert total_variation([0.0, 0.5, 0.25, 1.0]) == 1.5
    assert total_variation([0.3]) == 0
    assert [regime(tree) for tree in (0.95, 0.5, 0.05)] == ["tree", "neither", "line"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "questions"}, "Did you mean 'question'?"),
        ({"center": 2}, "center=2, expected a number from 0 to 1"),
        ({"types": 10}, "types=10, expected at most 9"),
        ({"items": -1}, "items=-1, expected at least 0"),
    ],
)
def test_bad_options_say_so(options: dict, says: str) -> None:
    with pytest.raises(InputError) as error:
        TreeOrLine(**options)
    assert says in str(error.value)
    with pytest.raises(InputError, match="length=20 is too short, expected at least 30"):
        TreeOrLine().sample(2, 20, torch.Generator())


def test_example_shows_both_answers(generator: torch.Generator) -> None:
    again, _, test = TreeOrLine().example(generator).partition("   ")
    assert " same " in again or " change " in again
    asked, answers = test.split("  ->  ")
    tree, line = answers.rstrip(")").split(" (")
    assert asked.endswith("change")
    assert {tree, line} <= set(AUXILIARIES)
