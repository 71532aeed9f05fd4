"""String tasks with one right answer, to be asked of any model: do probabilities decide whether it is found?

Eleven kinds (:data:`KINDS`), each with a common and rarer variants; :func:`battery` makes items whose answers or inputs
a reference model finds likely or not, :func:`ask` asks them, :func:`effects` and :func:`by_bin` say what made answers
right. docs/string-tasks.md shows all of it.

Source: Embers of Autoregression: Understanding Large Language Models Through the Problem They are Trained to Solve
(2023), arXiv 2309.13638.
"""

from seqmem.tasks.string_tasks.ask import Answered, ask, short, solver, spoken
from seqmem.tasks.string_tasks.effects import Bin, Effect, by_bin, effects, logistic_regression, told
from seqmem.tasks.string_tasks.grammar import Grammar, shuffled
from seqmem.tasks.string_tasks.items import LEVELS, Item, battery, matched
from seqmem.tasks.string_tasks.kinds import KINDS, Kind, Variant, kind_of
from seqmem.tasks.string_tasks.reference import CharNGram
from seqmem.tasks.string_tasks.score import edit_distance

__all__ = [
    "KINDS", "LEVELS", "Answered", "Bin", "CharNGram", "Effect", "Grammar", "Item", "Kind", "Variant", "ask",
    "battery", "by_bin", "edit_distance", "effects", "kind_of", "logistic_regression", "matched", "short", "shuffled",
    "solver", "spoken", "told",
]  # fmt: skip
