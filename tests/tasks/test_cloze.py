"""Questions with a gap, from a book and from generated stories, against plain Python."""

from __future__ import annotations

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks.base import IGNORE
from seqmem.tasks.bytes import Bytes
from seqmem.tasks.cloze import BLANK, CLASSES, CachedNgrams, cloze_questions, memories_of, sentences_of, word_classes
from seqmem.tasks.cloze_stories import GAPS, SENTENCE, WORDS, ClozeStories


@pytest.fixture(scope="module")
def book() -> list[tuple[str, ...]]:
    """Half of the novel inside the package."""
    return sentences_of(Bytes().text.written())[:4000]


def test_sentences() -> None:
    text = 'Mr. Starbuck said, "Come!" The whale--a large one--did\n not. Is it 5 o\'clock? well'
    assert sentences_of(text) == [
        ("Mr", "Starbuck", "said", ",", "Come", "!"),
        ("The", "whale", "a", "large", "one", "did", "not", "."),
        ("Is", "it", "5", "o'clock", "?"),
        ("well",),
    ]


def test_classes_of_a_book(book: list[tuple[str, ...]]) -> None:
    """By hand, without looking at what was found."""
    found = word_classes(book)
    expected = {
        "entity": "Ahab Queequeg Starbuck Stubb Peleg Bildad Nantucket Jonah",
        "noun": "whale ship sea captain boat world deck harpoon",
        "verb": "said see go think tell say",
        "preposition": "of in with upon among toward",
    }
    for kind, words in expected.items():
        right = [word for word in words.split() if found.get(word) == kind]
        assert len(right) >= 0.8 * len(words.split()), (kind, right)
        assert not [word for word in words.split() if found.get(word) not in (kind, None)]
    assert not {"The", "But", "the", "and", "he"} & set(found)


@pytest.mark.parametrize("kind", CLASSES)
def test_questions_of_a_book(book: list[tuple[str, ...]], generator: torch.Generator, kind: str) -> None:
    classes = word_classes(book)
    few = 4 if kind == "entity" else 10
    made = cloze_questions(book, kind, generator, count=30, candidates=few, classes=classes)
    assert made
    for question in made:
        assert len(question.context) == 20
        place = question.query.index(BLANK)
        start = next(n for n in range(len(book)) if tuple(book[n : n + 20]) == question.context)
        whole = book[start + 20]
        assert whole[place].lower() == question.answer.lower()
        assert (*whole[:place], BLANK, *whole[place + 1 :]) == question.query
        assert len(set(question.candidates)) == few
        assert question.answer in question.candidates
        assert {classes[word] for word in question.candidates} == {kind}
        named = {word.lower() for sentence in (*question.context, whole) for word in sentence}
        assert {word.lower() for word in question.candidates} <= named


def test_own_classes_and_what_cannot_be_asked(generator: torch.Generator) -> None:
    lines = [("the", word, "runs", ".") for word in ("cat", "dog", "cow", "pig")] * 3
    (made, *_) = cloze_questions(
        lines, "noun", generator, context=3, candidates=4, classes=dict.fromkeys(("cat", "dog", "cow", "pig"), "noun")
    )
    assert sorted(made.candidates) == ["cat", "cow", "dog", "pig"]
    with pytest.raises(InputError, match="12 sentences give no question about a word of class 'verb'"):
        cloze_questions(lines, "verb", generator)
    with pytest.raises(InputError, match="unknown kind 'adverb'"):
        cloze_questions(lines, "adverb", generator)


def test_windows_are_around_every_mention() -> None:
    context = torch.tensor([[7, 3, 8, 4, 9, 3, 0], [4, 5, 6, 7, 8, 9, 3]])
    query, gap, candidates = torch.tensor([[5, 1, 6], [1, 5, 0]]), torch.tensor([1, 0]), torch.tensor([[3, 4], [4, 2]])
    made = memories_of(context, query, gap, candidates, window=3)
    assert made.windows.tolist() == [[[7, 3, 8], [8, 4, 9], [9, 3, 0]], [[0, 4, 5], [0, 0, 0], [0, 0, 0]]]
    assert made.centre.tolist() == [[0, 1, 0], [0, -1, -1]]
    assert made.query.tolist() == [[5, 1, 6], [0, 1, 5]]
    with pytest.raises(InputError, match="window is 4, expected an odd number"):
        memories_of(context, query, gap, candidates, window=4)


def test_names_follow_from_the_story_alone(generator: torch.Generator) -> None:
    task = ClozeStories()
    told = task.gapped(100, 12, "entity", generator)
    for n in range(100):
        lines = [[WORDS[word] for word in line] for line in [*told.context[n].tolist(), told.query[n].tolist()]]
        looks = {tuple(line[first : first + 2]): line[first + 2] for line in lines[:-1] for first in (0, 8)}
        people = {line[first + 2]: tuple(line[first : first + 2]) for line in lines[:-1] for first in (0, 8)}
        assert len(looks) == len(people) == 10
        place = lines[-1].index("XXXXX")
        assert place == int(told.gap[n])
        candidates = [WORDS[word] for word in told.candidates[n].tolist()]
        assert sorted(candidates) == sorted(people)
        assert looks[tuple(lines[-1][place - 2 : place])] == candidates[int(told.answer[n])]


def test_local_words_follow_from_their_neighbours(generator: torch.Generator) -> None:
    usual = {"preposition": 0.91, "verb": 0.5, "noun": 0.5}  # what the best guess from the left neighbour scores
    lefts = {"preposition": 3, "verb": 1, "noun": 4}
    for kind, best in usual.items():
        told = ClozeStories().gapped(2000, 5, kind, generator)
        answers = told.candidates.gather(1, told.answer[:, None])[:, 0].tolist()
        seen: dict[int, list[int]] = {}
        for left, answer in zip(told.query[:, lefts[kind]].tolist(), answers, strict=True):
            seen.setdefault(left, []).append(answer)
        right = sum(max(map(given.count, set(given))) for given in seen.values()) / 2000
        assert right == pytest.approx(best, abs=0.04)


def test_rows_are_the_stories(generator: torch.Generator) -> None:
    task = ClozeStories(kinds=("entity", "preposition"))
    batch = task.sample(40, 133, generator)
    for inputs, targets, group in zip(
        batch.inputs.tolist(), batch.targets.tolist(), batch.groups.tolist(), strict=True
    ):  # type: ignore[union-attr]
        words = [WORDS[token] for token in inputs if token]
        assert words[-1] == "?"
        assert len(words) == 10 * SENTENCE + SENTENCE + 1
        place = words[-13:-1].index("XXXXX")
        kind = ("entity", "preposition")[group]
        assert place in GAPS[kind]
        assert targets[:-1] == [IGNORE] * 132
        if kind == "entity":
            lines = [words[n : n + SENTENCE] for n in range(0, len(words) - 13, SENTENCE)]
            looks = {tuple(line[first : first + 2]): line[first + 2] for line in lines for first in (0, 8)}
            assert WORDS[targets[-1]] == looks[tuple(words[-13:-1][place - 2 : place])]


def test_bad_options_say_so() -> None:
    with pytest.raises(InputError, match="has room for 4 sentences, expected at least 5"):
        ClozeStories(length=70)
    with pytest.raises(InputError, match="unknown kinds 'name'"):
        ClozeStories(kinds=("name",))


def test_kneser_ney_by_hand() -> None:
    """Of a b (twice), a c, d b: p(b | a) = (2 - D)/3 + D 2/3 p(b), and p(b) = (2 - D)/3 + D 2/3 of uniform."""
    model = CachedNgrams([("a", "b"), ("a", "b"), ("a", "c"), ("d", "b")], order=2, discount=0.5)
    uniform = 1 / (model.vocabulary + 1)
    below = (2 - 0.5) / 3 + 0.5 * 2 / 3 * uniform
    assert model.probability("b", ["a"]) == pytest.approx((2 - 0.5) / 3 + 0.5 * 2 / 3 * below)
    assert model.probability("b", ["x"]) == pytest.approx(below)
    assert model.probability("x", ["a"]) == pytest.approx(0.5 * 2 / 3 * 0.5 * 2 / 3 * uniform)


def test_ngrams_sum_to_one_and_find_the_word_of_the_place() -> None:
    lines = [("the", "cat", "sat", "on", "mats"), ("the", "dog", "ran", "to", "mats"), ("a", "dog", "sat", "on", "it")]
    model = CachedNgrams(lines, order=3, share=0.2)
    words = [gram[0] for gram in model.counts[-1]]
    for before in (["the", "cat"], ["sat", "on"], ["new", "words"], []):
        unseen = model.probability("never", before)
        assert sum(model.probability(word, before) for word in words) + unseen == pytest.approx(1)
    assert model.choose(("the", "dog", "X", "to"), 2, ["sat", "ran"]) == 1
    assert model.choose(("the", "X", "Y"), 1, ["new", "old"], context=["old", "old", "new"]) == 1
    with pytest.raises(InputError, match="order is 0"):
        CachedNgrams(lines, 0)
