"""Sentences as rows of slots, filled with words for a whole batch at once: a noun phrase, a verb phrase, and clauses
within them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seqmem.tasks.base import IGNORE, Batch

BLANK, SAME, CHANGE, STOP, QUESTION, THAT, NEAR = range(7)
SIGNS = ("", "same", "change", ".", "?", "that", "near")

#: category -> its words, each with its forms: nouns of one and of several; auxiliaries likewise
NOUNS = (("yak", "yaks"), ("newt", "newts"), ("cat", "cats"), ("owl", "owls"), ("seal", "seals"))
DETERMINERS = (("the",), ("some",))
AUXILIARIES = (("does", "do"), ("doesn't", "don't"))
BARE = {"iv": (("run",), ("sleep",), ("sing",), ("hide",)), "tv": (("see",), ("like",), ("hear",), ("know",))}
#: in the past, and in the present of one and of several
INFLECTED = {
    "iv": (("ran", "runs", "run"), ("slept", "sleeps", "sleep"), ("sang", "sings", "sing"), ("hid", "hides", "hide")),
    "tv": (
        ("saw", "sees", "see"),
        ("liked", "likes", "like"),
        ("heard", "hears", "hear"),
        ("knew", "knows", "know"),
    ),
}
CATEGORIES = ("stop", "that", "near", "det", "noun", "aux", "iv", "tv")

#: a clause: its name, and the one within it
Clause = tuple[str, "Clause | None"]


@dataclass
class Skeleton:
    """A sentence without its words. Slots: the category, the noun that it agrees with (its place), and the nearest
    noun before it. main: the place of the main auxiliary or, where there is none, verb. front: that of the first."""

    auxiliaries: bool
    slots: list[tuple[str, int, int]] = field(default_factory=list)
    main: int = -1

    def _put(self, category: str, subject: int = 0) -> int:
        nearest = max((n for n, slot in enumerate(self.slots) if slot[0] == "noun"), default=0)
        self.slots.append((category, subject, nearest))
        return len(self.slots) - 1

    def noun(self, clause: Clause | None = None) -> int:
        """A noun phrase with a clause; the noun's place."""
        self._put("det")
        noun = self._put("noun")
        if clause is None:
            return noun
        name, within = clause
        if name == "near":
            self._put("near")
            self.noun(within)
            return noun
        self._put("that")
        if name == "seen":
            self.verb("tv", self.noun(within))
        else:
            self.verb("tv" if name == "sees" else "iv", noun)
            if name == "sees":
                self.noun(within)
        return noun

    def verb(self, category: str, subject: int) -> int:
        """An auxiliary, where there are any, and a verb; the place of the first of them."""
        place = self._put("aux", subject) if self.auxiliaries else -1
        verb = self._put(category, subject)
        return place if self.auxiliaries else verb

    @property
    def front(self) -> int:
        """The place of the first auxiliary, 0 where there is none."""
        return next((n for n, slot in enumerate(self.slots) if slot[0] == "aux"), 0)

    @property
    def divided(self) -> bool:
        """Whether a verb's subject is not the noun before it."""
        return any(subject != nearest for category, subject, nearest in self.slots if category in ("iv", "tv"))


def sentence(kind: str, within: Clause | None, transitive: bool, at_object: Clause | None = None) -> Skeleton:
    """Subject, verb and, where it is transitive, object; with these clauses."""
    made = Skeleton(auxiliaries=kind == "question")
    subject = made.noun(within)
    made.main = made.verb("tv" if transitive else "iv", subject)
    if transitive:
        made.noun(at_object)
    made._put("stop")
    return made


def clauses(kind: str) -> list[Clause]:
    """Nine kinds of clause: "that does run" or "near the yak", "that does see the yak", "that the yak does see"; then
    the latter two with each of the three within."""
    first: list[Clause] = [("runs" if kind == "question" else "near", None), ("sees", None), ("seen", None)]
    return [*first, *((name, within) for name in ("sees", "seen") for within in first)]


def subjects(kind: str) -> tuple[Clause | None, ...]:
    """What may stand within the subject and leaves both rules the same: nothing, or "near the yaks", which has no
    auxiliary."""
    return (None, ("near", None)) if kind == "question" else (None,)


def plain(kind: str) -> list[Skeleton]:
    return [sentence(kind, within, transitive) for within in subjects(kind) for transitive in (False, True)]


def right_branching(kind: str, types: int) -> list[Skeleton]:
    return [sentence(kind, within, True, clause) for clause in clauses(kind)[:types] for within in subjects(kind)]


def center_embedded(kind: str, types: int, levels: int = 1) -> list[Skeleton]:
    """``levels``: clauses within clauses, of the kind that sees."""
    made = []
    for n, clause in enumerate(clauses(kind)[:types]):
        for _ in range(levels - 1):
            clause = ("sees", clause)
        made.append(sentence(kind, clause, transitive=n % 2 == 1))
    return made


class Phrases:
    """Several lists of sentences of a kind, and the words that fill them."""

    def __init__(self, kind: str, lists: Sequence[Sequence[Skeleton]]) -> None:
        self.tense = kind == "tense"
        verbs = INFLECTED if self.tense else BARE
        filled = {"det": DETERMINERS, "noun": NOUNS} | ({} if self.tense else {"aux": AUXILIARIES}) | verbs
        words = list(SIGNS)
        start, count, forms = {"stop": STOP, "that": THAT, "near": NEAR}, {}, {}
        for category, group in filled.items():
            start[category], count[category], forms[category] = len(words), len(group), len(group[0])
            words += [form for word in group for form in word]
        self.words = tuple(words)
        self._start, self._count, self._forms = (
            torch.tensor([table.get(category, default) for category in CATEGORIES])
            for table, default in ((start, 0), (count, 1), (forms, 1))
        )
        skeletons = [one for some in lists for one in some]
        sizes = [len(some) for some in lists]
        #: of each list: its first skeleton, and how many
        self.spans = torch.tensor([[sum(sizes[:n]), size] for n, size in enumerate(sizes)])
        self._size = torch.tensor([len(one.slots) for one in skeletons])
        self._main = torch.tensor([one.main for one in skeletons])
        self._front = torch.tensor([one.front for one in skeletons])
        self._divided = torch.tensor([one.divided for one in skeletons])
        most = int(self._size.max())
        table = torch.zeros(len(skeletons), most, 3, dtype=torch.int64)
        moved = torch.arange(most).repeat(len(skeletons), 1)
        for row, one in enumerate(skeletons):
            table[row, : len(one.slots)] = torch.tensor([(CATEGORIES.index(c), s, n) for c, s, n in one.slots])
            if not self.tense:  # the main auxiliary first, the others in their order
                order = [one.main, *(n for n in range(len(one.slots)) if n != one.main)]
                moved[row, : len(order)] = torch.tensor(order)
        self._category, self._subject, self._nearest = table.unbind(2)
        self._moved = moved

    @property
    def longest(self) -> int:
        """Time steps of the longest example."""
        return 2 * int(self._size.max())

    def written(self, skeleton: Tensor, change: Tensor, generator: torch.Generator, *, whole: bool) -> Batch:
        """Rows (rows,) of these skeletons, said again or changed, in words on which the two rules agree. ``whole``: all
        is asked, not only what is said second."""
        word, number = self._drawn(skeleton, generator)
        if self.tense:  # one number for all nouns where a verb has another noun before it
            alike = (change & self._divided[skeleton])[:, None]
            number = torch.where(alike, number[:, 1:2], number)
        batch = self._laid_out(skeleton, change, word, number)
        if not whole:
            return batch
        following = torch.nn.functional.pad(batch.inputs[:, 1:], (0, 1), value=BLANK)
        following = torch.where(batch.targets != IGNORE, batch.targets, following)
        return batch._replace(targets=following.masked_fill(following == BLANK, IGNORE))

    def parted(self, skeleton: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Rows that are changed, in words on which the rules do not agree: (inputs, the tree's targets, the line's)."""
        word, number = self._drawn(skeleton, generator)
        main, front = self._main[skeleton], self._front[skeleton]
        rows = torch.arange(len(skeleton))
        subject, nearest = self._subject[skeleton, main], self._nearest[skeleton, main]
        if self.tense:
            number[rows, nearest] = 1 - number[rows, subject]
        else:  # both auxiliaries agree with their nouns; where they are the same, one is negated
            numbers = number.gather(1, self._subject[skeleton])
            alike = (word[rows, main] == word[rows, front]) & (numbers[rows, main] == numbers[rows, front])
            word[rows, main] = torch.where(alike, 1 - word[rows, main], word[rows, main])
        batch = self._laid_out(skeleton, torch.ones(len(skeleton), dtype=torch.bool), word, number)
        size = self._size[skeleton]
        if self.tense:
            at = size + main
            verb = self._category[skeleton, main]
            base = self._start[verb] + word[rows, main] * self._forms[verb] + 1
            answers = base + number[rows, subject], base + number[rows, nearest]
        else:
            at = size
            answers = batch.inputs[rows, main], batch.inputs[rows, front]
        tree, line = torch.full_like(batch.targets, IGNORE), torch.full_like(batch.targets, IGNORE)
        tree[rows, at], line[rows, at] = answers
        return batch.inputs, tree, line

    def _drawn(self, skeleton: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Which word of its category stands in a slot, and which number a noun has there, (rows, slot) each."""
        shape = (2, len(skeleton), self._category.shape[1])
        u = torch.rand(shape, generator=generator, dtype=torch.float64)
        return (u[0] * self._count[self._category[skeleton]]).long(), (u[1] * 2).long()

    def _laid_out(self, skeleton: Tensor, change: Tensor, word: Tensor, number: Tensor) -> Batch:
        """The sentence, the sign, and what is said second."""
        category = self._category[skeleton]  # (rows, slot)
        agreed = number.gather(1, self._subject[skeleton])
        verb = (category == CATEGORIES.index("iv")) | (category == CATEGORIES.index("tv"))
        base = self._start[category] + word * self._forms[category]
        form = torch.where(category == CATEGORIES.index("aux"), agreed, 0)
        form = torch.where(category == CATEGORIES.index("noun"), number, form)
        first = base + form
        second = first.clone()
        if self.tense:
            second = torch.where(verb & change[:, None], base + 1 + agreed, second)
        else:
            moved = first.gather(1, self._moved[skeleton])
            moved = moved.masked_fill(moved == STOP, QUESTION)
            second = torch.where(change[:, None], moved, second)
        size, most = self._size[skeleton][:, None], word.shape[1]
        time = torch.arange(2 * most + 1).expand(len(skeleton), -1)
        place = time - size - 1  # within what is said second
        said = first.gather(1, time.clamp(max=most - 1))
        again = second.gather(1, place.clamp(0, most - 1))
        tokens = torch.where(time < size, said, torch.where(place < size, again, BLANK))
        tokens = torch.where(time == size, torch.where(change, CHANGE, SAME)[:, None], tokens)
        asked = (place >= 0) & (place < size)
        targets = torch.where(asked, tokens, IGNORE)[:, 1:].contiguous()
        inputs = torch.where(time == 2 * size, BLANK, tokens)[:, :-1].contiguous()
        return Batch(inputs, targets, change.long())
