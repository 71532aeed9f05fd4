"""SCAN: commands such as ``jump around left and walk twice``, to be translated into actions; all 20,910 of them, and
the divisions into training and test that ask whether a network composes.

Sources: Generalization without systematicity: On the compositional skills of sequence-to-sequence recurrent networks
(2018), arXiv 1711.00350; Rearranging the Familiar: Testing Compositional Generalization in Recurrent Networks (2018),
arXiv 1807.07545 (the divisions by template).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.tasks import _check
from seqmem.tasks.base import IGNORE, Batch, Changes, Split, Task

PRIMITIVES = ("walk", "look", "run", "jump")
SIDES = ("left", "right")
ACTIONS = ("WALK", "LOOK", "RUN", "JUMP", "LTURN", "RTURN")
WORDS = ("turn", *PRIMITIVES, *SIDES, "opposite", "around", "twice", "thrice", "and", "after")
TIMES = {"twice": 2, "thrice": 3}

BLANK, EQUALS, END, FIRST_ACTION = range(4)
FIRST_WORD = FIRST_ACTION + len(ACTIONS)
TOKENS = ("", "=", "end", *ACTIONS, *WORDS)
LONGEST_COMMAND, MOST_ACTIONS = 9, 48


def interpret(command: str) -> tuple[str, ...]:
    """The actions of a command, a word each.

    ``x and y`` is x, then y; ``x after y`` is y, then x; ``x twice`` and ``x thrice`` repeat. ``u left`` is a turn and
    u; ``u opposite left`` two turns and u; ``u around left`` is ``u left`` four times. ``turn`` does nothing else.
    InputError for what the grammar has not.
    """
    words = command.split()
    for joint in ("and", "after"):
        if joint in words:
            cut = words.index(joint)
            first, second = (_repeated(part, command) for part in (words[:cut], words[cut + 1 :]))
            return first + second if joint == "and" else second + first
    return _repeated(words, command)


def _repeated(words: list[str], command: str) -> tuple[str, ...]:
    if words and words[-1] in TIMES:
        return _directed(words[:-1], command) * TIMES[words[-1]]
    return _directed(words, command)


def _directed(words: list[str], command: str) -> tuple[str, ...]:
    match words:
        case [verb] if verb in PRIMITIVES:
            return (verb.upper(),)
        case [verb, side] if side in SIDES and (verb in PRIMITIVES or verb == "turn"):
            return (f"{side[0].upper()}TURN", *_own(verb))
        case [verb, "opposite", side] if side in SIDES and (verb in PRIMITIVES or verb == "turn"):
            return (f"{side[0].upper()}TURN",) * 2 + _own(verb)
        case [verb, "around", side] if side in SIDES and (verb in PRIMITIVES or verb == "turn"):
            return (f"{side[0].upper()}TURN", *_own(verb)) * 4
    raise InputError(
        f"the command {command!r} is not in the grammar; expected something such as 'jump around left and walk twice'"
    )


def _own(verb: str) -> tuple[str, ...]:
    return () if verb == "turn" else (verb.upper(),)


@cache
def commands() -> tuple[str, ...]:
    """All 20,910, in the order of the grammar: phrases without a joint, then with ``and``, then with ``after``."""
    directed = [
        f"{verb} {way}{side}"
        for verb in ("turn", *PRIMITIVES)
        for way in ("", "opposite ", "around ")
        for side in SIDES
    ]
    phrases = [*PRIMITIVES, *directed]
    repeated = [phrase + times for phrase in phrases for times in ("", " twice", " thrice")]
    joined = [f"{a} {joint} {b}" for joint in ("and", "after") for a in repeated for b in repeated]
    return (*repeated, *joined)


def phrases_of(command: str) -> list[str]:
    """A command's one or two phrases without their repetitions: ``['jump around left', 'walk']``."""
    parts = command.replace(" after ", " and ").split(" and ")
    return [part.removesuffix(" twice").removesuffix(" thrice") for part in parts]


class Divided(NamedTuple):
    """train, test: indices into :func:`commands`. often: of those of training, the one that is repeated until it is a
    tenth of it; None: there is none."""

    train: Tensor
    test: Tensor
    often: int | None = None


def _apart(held_out: Callable[[str], bool], alone: str | None = None, left_out: str | None = None) -> Divided:
    """Test: commands with a phrase that is held out. Training: the others, and ``alone`` where it is given. Commands
    with the phrase ``left_out`` are in neither."""
    train: list[int] = []
    test: list[int] = []
    often = None
    for n, command in enumerate(commands()):
        phrases = phrases_of(command)
        if command == alone:
            often = n
            train.append(n)
        elif left_out not in phrases:
            (test if any(map(held_out, phrases)) else train).append(n)
    return Divided(torch.tensor(train), torch.tensor(test), often)


def _by_template(way: str, verbs: tuple[str, ...] = PRIMITIVES) -> Divided:
    """``jump around right`` and the like are held out; ``turn around right``, where the verb is none, is left out."""
    return _apart(lambda phrase: phrase in {f"{verb} {way}" for verb in verbs}, left_out=f"turn {way}")


def _simple(percent: int) -> Divided:
    order = torch.rand(len(commands()), generator=torch.Generator().manual_seed(0), dtype=torch.float64).argsort()
    count = round(len(order) * percent / 100)
    return Divided(order[:count], order[count:])


def _by_length() -> Divided:
    actions = torch.tensor([len(interpret(command)) for command in commands()])
    return Divided((actions <= 22).nonzero()[:, 0], (actions > 22).nonzero()[:, 0])


DIVISIONS: dict[str, Callable[[int], Divided]] = {
    "simple": _simple,
    "length": lambda _: _by_length(),
    "add_jump": lambda _: _apart(lambda phrase: "jump" in phrase, alone="jump"),
    "add_turn_left": lambda _: _apart(lambda phrase: phrase == "turn left", alone="turn left"),
    "right": lambda _: _by_template("right"),
    "opposite_right": lambda _: _by_template("opposite right"),
    "around_right": lambda _: _by_template("around right"),
    "jump_around_right": lambda _: _by_template("around right", ("jump",)),
}


@cache
def divided(division: str, percent: int = 80) -> Divided:
    """The commands of training and test. ``percent`` is about the simple division."""
    return DIVISIONS[division](percent)


class Pairs(NamedTuple):
    """words: (commands, 9) token ids, blanks behind. actions: (commands, 49), the end token behind the last action,
    then IGNORE."""

    words: Tensor
    actions: Tensor


@cache
def pairs() -> Pairs:
    """Every command and its actions as tokens, in the order of :func:`commands`."""
    words = torch.full((len(commands()), LONGEST_COMMAND), BLANK)
    actions = torch.full((len(commands()), MOST_ACTIONS + 1), IGNORE)
    for row, command in enumerate(commands()):
        said = [TOKENS.index(word) for word in command.split()]
        done = [TOKENS.index(action) for action in interpret(command)] + [END]
        words[row, : len(said)] = torch.tensor(said)
        actions[row, : len(done)] = torch.tensor(done)
    return Pairs(words, actions)


@dataclass(frozen=True)
class Scan(Task):
    """``jump around left twice = LTURN JUMP ... end``: the words, then the actions, asked one by one and read on from.

    Options:
        division: what training has not seen and test examples are made of. simple: ``percent`` of all commands are for
            training, the others for the test. length: more than 22 actions. add_jump, add_turn_left: commands with jump
            (with the phrase turn left) and more than that; alone it is a tenth of the training examples. right,
            opposite_right, around_right: such phrases with a verb other than turn; those with turn are in neither.
            jump_around_right: this phrase.
        percent: of the simple division.

    Validation examples are drawn from the training commands. The commands and the divisions are those of the papers;
    the simple division, random there too, is drawn anew.
    """

    changes: ClassVar[Changes] = {"division": ("length", "add_turn_left", "add_jump")}

    division: str = "simple"
    percent: int = 80

    def __post_init__(self) -> None:
        _check.choice("scan", "division", self.division, list(DIVISIONS))
        if not 1 <= _check.integer("scan", "percent", self.percent, at_least=1) <= 99:
            raise InputError(f"task 'scan': percent={self.percent}, expected at most 99")
        if self.percent != 80 and self.division != "simple":
            raise InputError(f"task 'scan': percent={self.percent} with division={self.division!r}, expected simple")

    @property
    def vocab_size(self) -> int:
        return len(TOKENS)

    @property
    def train_length(self) -> int:
        return LONGEST_COMMAND + 1 + MOST_ACTIONS

    @property
    def test_lengths(self) -> tuple[int, ...]:
        return (self.train_length,)

    @property
    def chance(self) -> float:
        """The share of a turn to one side, the commonest answer, over all commands."""
        answers = pairs().actions
        return float((answers == TOKENS.index("LTURN")).sum() / (answers != IGNORE).sum())

    def draw(self, batch_size: int, generator: torch.Generator, *, split: Split = "train") -> Tensor:
        """Indices into :func:`commands`, (batch_size,)."""
        known = divided(self.division, self.percent)
        among = known.test if split == "test" else known.train
        chosen = among[(torch.rand(batch_size, generator=generator, dtype=torch.float64) * len(among)).long()]
        if known.often is None or split == "test":
            return chosen
        again = torch.rand(batch_size, generator=generator, dtype=torch.float64) < 0.1
        return chosen.masked_fill(again, known.often)

    def sample(self, batch_size: int, length: int, generator: torch.Generator, *, split: Split = "train") -> Batch:
        """``batch_size`` commands, drawn with replacement; blanks stand behind."""
        _check.request("scan", batch_size, length, generator, split)
        if length != self.train_length:
            raise InputError(f"task 'scan': length={length}, expected {self.train_length}, that of the longest command")
        return laid_out(self.draw(batch_size, generator, split=split))

    def example(self, generator: torch.Generator) -> str:
        """A command and its actions."""
        command = commands()[int(self.draw(1, generator, split="test"))]
        return f"{command}  ->  {' '.join(interpret(command))}"


def laid_out(chosen: Tensor) -> Batch:
    """Commands (batch,), indices into :func:`commands`, as sequences of words, the sign = and actions."""
    words, actions = (part[chosen] for part in pairs())
    size = (words != BLANK).sum(1, keepdim=True)  # (batch, 1)
    count = (actions != IGNORE).sum(1, keepdim=True)
    time = torch.arange(LONGEST_COMMAND + 1 + MOST_ACTIONS)
    place = time - size  # 0 at the sign =
    answers = actions.gather(1, place.clamp(0, MOST_ACTIONS))
    inputs = torch.where(place < 0, words.gather(1, time.clamp(max=LONGEST_COMMAND - 1).expand(len(words), -1)), BLANK)
    inputs = torch.where(place == 0, EQUALS, inputs)
    before = actions.gather(1, (place - 1).clamp(0, MOST_ACTIONS))
    inputs = torch.where((place > 0) & (place < count), before, inputs)
    targets = torch.where((place >= 0) & (place < count), answers, IGNORE)
    return Batch(inputs, targets)
