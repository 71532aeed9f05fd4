"""Text tasks: answers by solvers that read the text alone, sizes, depths, chance, and a task of one's own."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from seqmem.errors import InputError
from seqmem.tasks import get_task
from seqmem.tasks._sentences import FILLER, WORDS, words_of
from seqmem.tasks.base import IGNORE
from seqmem.tasks.text import Document, Draws, Story, TextTask
from seqmem.tasks.tokenizers import ByteTokenizer, Reader, WordTokenizer, best_guess

NAMES = ("needle", "multi_needle", "passkey", "variable_tracking", "question_answering", "key_value_updates")


class Pairs:
    """A tokenizer whose tokens span sentences: pairs of characters, a special token before each text and after it."""

    bos_token_id, eos_token_id = 0, 1

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        ids = [2 + zlib.crc32(text[n : n + 2].encode()) % 1000 for n in range(0, len(text), 2)]
        return {"input_ids": [0, *ids, 1] if add_special_tokens else ids}


def task(name: str, **options: Any) -> TextTask:
    made = get_task(name, **options)
    assert isinstance(made, TextTask)
    return made


def secret(text: str, question: str) -> str:
    (place,) = re.findall(r"of the (\w+) is$", question)
    (word,) = re.findall(rf"The secret word of the {place} is (\w+)\.", text)
    return word


def passkey(text: str, question: str) -> str:
    (key,) = re.findall(r"The pass key is (\d{5})\. Remember it: \1 is the pass key\.", text)
    return key


def variable(text: str, question: str) -> str:
    values: dict[str, str] = {}
    for name, value in re.findall(r"Let (\w) be (\w+)\.", text):
        values[name] = values.get(value, value)
    (asked,) = re.findall(r"So (\w) must be$", question)
    return values[asked]


def painted(text: str, question: str) -> str:
    (thing,) = re.findall(r"In the end the (\w+) is painted$", question)
    return re.findall(rf"The {thing} is painted (\w+) now\.", text)[-1]


def story(text: str, question: str) -> str:
    at: dict[str, str] = {}  # person -> place
    holder: dict[str, str] = {}  # thing -> person
    been: dict[str, list[str]] = {}  # thing -> places
    event = re.compile(r"(Anna|Boris|Clara|David) (\w+) (?:to )?the (\w+)\.")
    for who, verb, what in event.findall(text):
        if verb in ("walked", "ran", "returned"):
            at[who] = what
            for thing in [thing for thing, person in holder.items() if person == who]:
                been.setdefault(thing, []).append(what)
        elif verb in ("took", "grabbed"):
            holder[what] = who
            if been.get(what, [None])[-1] != at[who]:
                been.setdefault(what, []).append(at[who])
        else:
            holder.pop(what)
    asked = re.fullmatch(r"Question: Where (is|was) (?:the )?(\w+)(?: before the (\w+))?\? Answer: in the", question)
    assert asked is not None
    _, what, later = asked.groups()
    if later:
        assert been[what][-1] == later
        return been[what][-2]
    return at[what] if what in at else been[what][-1]


SOLVERS: dict[str, Callable[[str, str], str]] = {
    "needle": secret, "multi_needle": secret, "passkey": passkey, "variable_tracking": variable,
    "question_answering": story, "key_value_updates": painted,
}  # fmt: skip
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "needle": [{}], "multi_needle": [{}, {"needles": 12}], "passkey": [{}],
    "variable_tracking": [{}, {"chains": 1, "hops": 0}, {"chains": 4, "hops": 4}],
    "question_answering": [{"facts": 1}, {"facts": 2}, {"facts": 3}],
    "key_value_updates": [{}, {"keys": 1, "updates": 12}],
}  # fmt: skip
CASES = [(name, options) for name in NAMES for options in OPTIONS[name]]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_answers_follow_from_the_text(generator: torch.Generator, name: str, options: dict[str, Any]) -> None:
    documents = task(name, **options).documents(100, 300, WordTokenizer(WORDS), generator)
    for document in documents:
        text, question = document.prompt.split("\n")
        assert SOLVERS[name](text, question) == document.answer.strip()
    assert len({document.answer for document in documents}) > 4


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), WordTokenizer(WORDS), Pairs()])
@pytest.mark.parametrize("name", NAMES)
def test_documents_fill_the_length(generator: torch.Generator, name: str, tokenizer: Any) -> None:
    reader, longest = Reader(tokenizer), max(FILLER, key=len)
    for length in (700, 2000):
        for document in task(name).documents(10, length, tokenizer, generator):
            assert length - 2 - reader.size(longest) < len(document.ids) <= length
            whole = reader.ids(document.prompt + document.answer)
            assert document.ids == whole
            assert 1 <= document.asked <= len(reader.ids(document.answer, opening=False)) + 1
            assert document.ids[: -document.asked] == reader.ids(document.prompt)[: len(whole) - document.asked]


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("needle", "The secret word"),
        ("passkey", "The pass key is"),
        ("variable_tracking", None),
        ("key_value_updates", None),
        ("question_answering", None),
    ],
)
def test_the_fact_that_decides_is_at_its_depth(generator: torch.Generator, name: str, fact: str | None) -> None:
    depths = [0.0, 0.25, 0.5, 0.75, 1.0] * 4
    options = {"facts": 1} if name == "question_answering" else {"hops": 0} if name == "variable_tracking" else {}
    documents = task(name, **options).documents(20, 2000, WordTokenizer(WORDS), generator, depths)
    for depth, document in zip(depths, documents, strict=True):
        text, question = document.prompt.split("\n")
        found = _decisive(document, question) if fact is None else text.index(fact)
        assert document.depth == depth
        assert abs(found / len(text) - depth) < 0.06


def _decisive(document: Document, question: str) -> int:
    """Where the last sentence about what is asked begins."""
    text = document.prompt.split("\n")[0]
    (what,) = re.findall(r"So (\w) must|the end the (\w+) is|Where is (\w+)\?", question)
    name = "".join(what)
    return max(m.start() for m in re.finditer(rf"Let {name} be|The {name} is painted|{name} \w+ to the", text))


def test_filler_says_nothing_of_what_is_asked() -> None:
    told = {word for sentence in FILLER for word in words_of(sentence)}
    for name in NAMES:
        assert not told & set(task(name).answers)
    assert len(set(FILLER)) == len(FILLER)
    assert len(set(WORDS)) == len(WORDS) != 256


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tokens", ["words", "bytes"])
def test_no_answer_begins_another(name: str, tokens: str) -> None:
    answers = task(name).answers[:5000]
    assert not any(b.startswith(a) for a, b in zip(sorted(answers), sorted(answers)[1:], strict=False))


def test_chance_by_hand_and_by_guessing(generator: torch.Generator) -> None:
    assert task("needle").chance == pytest.approx(1 / 24)
    assert task("passkey").chance == pytest.approx(1 / 10)
    assert task("passkey").exact_chance == pytest.approx(1e-5)
    assert task("variable_tracking").chance == pytest.approx((1 / 9 + 1 / 10) / 2)
    assert best_guess([[1, 2], [1, 3], [2, 4]]) == pytest.approx((2 + 1 + 1) / 6)
    blind = task("variable_tracking", tokens="bytes", length=512)
    batch = blind.sample(400, 512, generator)
    asked = batch.targets[batch.targets != IGNORE].view(400, -1)
    said = torch.stack([asked[:, n].mode().values.expand(400) for n in range(3)], 1)  # the likeliest byte of each place
    assert (said == asked).float().mean().item() == pytest.approx(blind.chance, abs=0.05)


def test_rows_hold_the_document_and_ask_its_answer(generator: torch.Generator) -> None:
    for tokens in ("words", "bytes"):
        made = task("key_value_updates", tokens=tokens, length=512)
        batch = made.sample(10, 512, generator)
        assert batch.groups is not None
        assert sorted(batch.groups.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            asked = [n for n, target in enumerate(targets) if target != IGNORE]
            assert asked == list(range(512 - len(asked), 512))
            text = made.tokenizer.decode(inputs[: asked[0] + 1])
            answer = made.tokenizer.decode([targets[n] for n in asked])
            assert inputs[asked[0] + 1 :] == [targets[n] for n in asked][:-1]
            flat = re.sub(r" ([.?:])", r"\1", re.sub(r"\s+", " ", text))
            at = flat.rindex("In the end")
            assert painted(flat[:at], flat[at:].strip()) == answer.strip()


def test_bad_options_say_so(generator: torch.Generator) -> None:
    for name, options, says in (
        ("needle", {"needles": 13}, "needles=13, expected at most 12"),
        ("needle", {"tokens": "letters"}, "unknown tokens 'letters'."),
        ("needle", {"length": 10}, "length=10 is too short: facts and question alone have 17 tokens"),
        ("multi_needle", {"tokens": "bytes"}, "length=256 is too short"),
        ("variable_tracking", {"hops": 9}, "chains=3 with hops=9 need 30 letters, expected at most 24"),
        ("key_value_updates", {"updates": 13}, "updates=13, expected at most 12"),
        ("question_answering", {"facts": 4}, "facts=4, expected 1, 2 or 3"),
    ):
        with pytest.raises(InputError) as error:
            get_task(name, **options)  # type: ignore[arg-type]
        assert str(error.value).startswith(f"task '{name}': ")
        assert says in str(error.value)
    with pytest.raises(InputError, match=r"depths=\[2\.0\], expected 1 numbers from 0 to 1"):
        task("needle").documents(1, 256, ByteTokenizer(), generator, [2.0])
    with pytest.raises(InputError, match="'xylophone' is not among the 273 words"):
        WordTokenizer(WORDS)("a xylophone")


@dataclass(frozen=True)
class Ages(TextTask):
    """How old is somebody?"""

    answers: ClassVar[tuple[str, ...]] = ("seven", "eleven", "thirty")
    header: ClassVar[str] = "Listen."

    def story(self, depth: float, draws: Draws) -> Story:
        age = draws.choice(self.answers)
        return Story([(depth, f"Mona turned {age} today.")], "Mona is", age)


@dataclass(frozen=True)
class Misplaced(Ages):
    def story(self, depth: float, draws: Draws) -> Story:
        return Story([(7.0, "Mona is seven.")], "Mona is", "seven")


@dataclass(frozen=True)
class Unanswerable(Ages):
    answers: ClassVar[tuple[str, ...]] = ()


def test_ones_own(generator: torch.Generator) -> None:
    mine = get_task("tests.tasks.test_text:Ages", length=128)
    assert isinstance(mine, Ages)
    batch = mine.sample(4, 128, generator)
    assert batch.inputs.shape == (4, 128)
    (document,) = mine.documents(1, 200, ByteTokenizer(), generator, [1.0])
    assert document.prompt.startswith("Listen. ")
    assert re.search(rf"Mona turned{document.answer} today\.\nMona is$", document.prompt)
    assert mine.exact_chance == pytest.approx(1 / 3)
    assert mine.name == "Ages"
    with pytest.raises(InputError, match=r"task 'Misplaced': Story.* expected an answer, and places from 0 to 1"):
        Misplaced()
    with pytest.raises(InputError, match="task 'Unanswerable': answers is empty"):
        Unanswerable()
    with pytest.raises(InputError, match=r"has no option 'lenght'\. Did you mean 'length'"):
        get_task("tests.tasks.test_text:Ages", lenght=3)
    with pytest.raises(InputError, match="expected a frozen dataclass derived from"):
        get_task("tests.tasks.test_text:Pairs")
    with pytest.raises(InputError, match=r"has no 'Agse'\. Did you mean 'Ages'"):
        get_task("tests.tasks.test_text:Agse")
    with pytest.raises(InputError, match="not among the 273 words"):
        Ages(tokens="words")
