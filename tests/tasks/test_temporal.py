"""Stories of events against a reader of their words, and scores against examples worked out by hand."""

from __future__ import annotations

import math
import re
from itertools import combinations, pairwise

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.temporal import (
    asked_about,
    choices_about,
    dated_sentences,
    order_correlation,
    ordering_prompt,
    pairwise_order,
    read_order,
    score_candidates,
    score_pairs,
    tell_timelines,
    yes_or_no,
)
from seqmem.tasks.temporal.timeline import BEFORE, MEANWHILE, NONE, THEN, permutations
from seqmem.tasks.temporal_order import WORDS, TemporalOrder


def follows(story: str) -> set[tuple[str, str]]:
    """(a, b): the story says, also by way of others, that a has ended when b begins; by reading its words."""
    said: set[tuple[str, str]] = set()
    last = ""
    for sentence in re.findall(r"[^.]+", story):
        link, *words = sentence.lower().split()
        if link == "before":
            words = words[1:]
        elif link not in ("then", "meanwhile"):
            words = [link, *words]
        event = " ".join(words[:2])
        if link == "then":
            said.add((last, event))
        elif link == "before":
            said.add((event, last))
        last = event
    while True:
        more = {(a, d) for a, b in said for c, d in said if b == c} - said
        if not more:
            return said
        said |= more


def answer(story: str, question: str) -> str:
    """Yes or no; fails where the words do not decide it."""
    known = follows(story)
    match = re.fullmatch(r"was it (before|after) (\w+ \w+) that (\w+ \w+) ?\?", question.strip().lower())
    assert match is not None, question
    word, other, about = match.groups()
    assert ((about, other) in known) != ((other, about) in known)
    return "yes" if ((about, other) in known) == (word == "before") else "no"


@pytest.mark.parametrize("agreement", [1.0, 0.6, 0.5, 0.0])
def test_answers_follow_from_the_words(generator: torch.Generator, agreement: float) -> None:
    for asked in asked_about(60, 6, agreement, generator, hours=True):
        assert answer(asked.story, asked.question) == asked.answer
        assert answer(asked.story, asked.twin) == asked.twin_answer
        assert {asked.answer, asked.twin_answer} == {"yes", "no"}
        if agreement == 1.0:
            assert "Before that" not in asked.story
            assert read_order(asked.story, asked.events) == list(asked.events)


@pytest.mark.parametrize(("length", "split"), [(64, "train"), (64, "test"), (120, "test")])
def test_rows_say_the_same(generator: torch.Generator, length: int, split: str) -> None:
    batch = TemporalOrder().sample(60, length, generator, split=split)  # type: ignore[arg-type]
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        text = " ".join(WORDS[token] for token in inputs if token)
        story, *_ = text.partition(" was it")
        questions = re.findall(r"was it [^?]*\?", text)
        answers = [WORDS[target] for target in targets if target != IGNORE]
        assert [answer(story, question) for question in questions] == answers
        assert len(answers) == 4
        assert all(inputs[n] == WORDS.index("?") for n, target in enumerate(targets) if target != IGNORE)


def test_links_say_what_the_times_say(generator: torch.Generator) -> None:
    told = tell_timelines(200, 7, 0.5, generator)
    for row in range(200):
        start, hours, link = (part[row].tolist() for part in (told.start, told.hours, told.link))
        assert link[0] == NONE
        for (a, b), said in zip(pairwise(range(7)), link[1:], strict=True):
            if start[a] + hours[a] <= start[b]:
                assert said == THEN
            elif start[b] + hours[b] <= start[a]:
                assert said == BEFORE
            else:
                assert said == MEANWHILE
        for a, b in combinations(range(7), 2):
            for i, j in ((a, b), (b, a)):
                assert not told.before[row, i, j] or start[i] + hours[i] <= start[j]
    assert len(told.link.unique()) == 4


@pytest.mark.parametrize("agreement", [0.0, 0.2, 0.5, 0.6, 0.9, 1.0])
def test_pairs_agree_as_often_as_asked(generator: torch.Generator, agreement: float) -> None:
    order = permutations(4000, 6, agreement, generator)
    assert (order.sort(1).values == torch.arange(6)).all()
    in_order = torch.stack([order[:, a] < order[:, b] for a, b in combinations(range(6), 2)])
    assert float(in_order.double().mean()) == pytest.approx(agreement, abs=0.01)
    if agreement == 0.5:  # every order is as likely
        assert torch.bincount(order[:, 0]).double().div(4000).tolist() == pytest.approx([1 / 6] * 6, abs=0.03)


def test_yes_and_no_are_as_frequent_whatever_is_read(generator: torch.Generator) -> None:
    task = TemporalOrder(agreement=1.0)
    told, questions = task.told(800, 64, 1.0, generator)
    assert float(task.told(800, 64, 1.0, generator, 0.25)[1].after.double().mean()) == pytest.approx(0.25, abs=0.04)
    for half in (questions.after, ~questions.after, questions.about < questions.other):
        assert float((questions.answer[half] == WORDS.index("yes")).double().mean()) == pytest.approx(0.5, abs=0.05)
    assert (
        told.before[torch.arange(800)[:, None], questions.about, questions.other]
        .logical_or(told.before[torch.arange(800)[:, None], questions.other, questions.about])
        .all()
    )
    twins = questions.twins
    assert (twins.after != questions.after).all()
    assert (twins.answer != questions.answer).all()


def test_questions_with_several_right_answers(generator: torch.Generator) -> None:
    for one in choices_about(40, 6, 0.5, generator):
        if "longer" in one.question:
            lasted = dict(re.findall(r"(\w+ \w+) for (\w+) hours?\.", one.story))
            counted = {"one": 1, "two": 2, "three": 3, "four": 4}
            about = re.search(r"when (\w+ \w+)\?", one.question).group(1)  # type: ignore[union-attr]
            right = [counted[lasted[c]] > counted[lasted[about]] for c in one.candidates]
        else:
            known, about = follows(one.story), one.question.removesuffix("?").split("before ")[1].lower()
            right = [(c.lower(), about) in known for c in one.candidates]
            assert all(((c.lower(), about) in known) != ((about, c.lower()) in known) for c in one.candidates)
            assert one.candidates
        assert list(one.right) == right


def test_pairs_by_both_definitions() -> None:
    said = ["Yes.", "no", "yes", "no", "maybe", "True", "who knows"]
    twin = ["no, it was not", "yes", "Yes", "No", "no", "nothing", "nobody"]
    gold, opposite = ["yes", "yes", "yes", "no", "yes", "yes", "yes"], ["no", "no", "no", "yes", "no", "no", "no"]
    # right, both wrong, same, same, one right, one right, not usable
    found = score_pairs(said, twin, gold, opposite)
    assert found.accuracy == 1 / 7
    assert found.usable == 6 / 7
    assert found.incoherence == 4 / 6
    assert found.contradiction == 4 / 6
    assert found.single == (2 + 0 + 1 + 1 + 1 + 1) / 14
    both_no = score_pairs(["no"], ["no"], ["no"], ["no"])  # the events overlap: coherent by one, not by the other
    assert (both_no.accuracy, both_no.incoherence, both_no.contradiction) == (1, 0, 1)
    assert math.isnan(score_pairs(["?"], ["?"], ["no"], ["yes"]).incoherence)
    assert [yes_or_no(text) for text in ("Nobody yes", "It is FALSE", "notyes")] == ["yes", "no", None]


def test_orders() -> None:
    events = ["Anna swam", "Boris ran", "Clara sat"]
    assert read_order("First clara sat; then Anna swam.", events) == ["Clara sat", "Anna swam"]
    assert pairwise_order(events, events) == 1
    assert pairwise_order(events[::-1], events) == 0
    assert pairwise_order(["Anna swam", "Clara sat"], events) == 1 / 3
    (asked,) = asked_about(1, 4, 0.5, torch.Generator().manual_seed(1))
    prompt = ordering_prompt(asked, torch.Generator().manual_seed(1))
    listed = prompt.split("Events: ")[1].splitlines()[0].split("; ")
    assert sorted(listed) == sorted(asked.events)


def test_strict_accuracy_and_f1() -> None:
    said = [[True, False, True], [False, False], [True, True], [False]]
    gold = [[True, False, True], [True, False], [True, False], [False]]
    strict, f1 = score_candidates(said, gold)
    assert strict == 2 / 4
    assert f1 == pytest.approx((1 + 0 + 2 * 0.5 * 1 / 1.5 + 1) / 4)


def test_the_probe() -> None:
    assert order_correlation([[1, 2, 3], [5, 5, 5]]) == pytest.approx(1)
    assert order_correlation([[3, 2, 1], [1, 2, 3]]) == pytest.approx(0)
    assert order_correlation([[1, 3, 2, 4]]) == pytest.approx(4 / 6)
    text = "In 1805 it was war. It had begun in 1803, or in 1804? By 1,200 men in 1799. Room 1850% sold. Then 2020."
    assert dated_sentences(text) == [(0, 1805), (2, 1799), (4, 2020)]
    told = tell_timelines(600, 5, 0.6, torch.Generator().manual_seed(0))
    assert order_correlation(told.start.tolist()) == pytest.approx(0.2, abs=0.05)


def test_bad_input_says_so(generator: torch.Generator) -> None:
    for call, says in (
        (lambda: TemporalOrder(length=40), "has room for 0 events, expected 2 to 128: length=46 or more"),
        (lambda: TemporalOrder(agreement=2), "agreement=2, expected a number from 0 to 1"),
        (lambda: tell_timelines(1, 1, 0.5, generator), "1 events at agreement=0.5"),
        (lambda: score_pairs([], [], [], []), "0 and 0 answers"),
        (lambda: pairwise_order([], ["a"]), "expected two or more different events"),
        (lambda: score_candidates([[True]], [[True, False]]), "expected as many for each question"),
        (lambda: order_correlation([[1, 1]]), "none of 1 texts"),
    ):
        with pytest.raises(InputError, match=says):
            call()
