"""Passages that contradict what a model has memorised, made from anybody's questions, and what a reader then answers.

Entity-Based Knowledge Conflicts in Question Answering (2021), arXiv 2109.05052. docs/knowledge-conflicts.md shows it.
"""

from seqmem.tasks.conflicts.items import Conflict, Item, kind_of, names_of, same_answer
from seqmem.tasks.conflicts.policies import (
    alias_conflicts,
    corpus_conflicts,
    popularity_conflicts,
    type_conflicts,
    with_substitutes,
)
from seqmem.tasks.conflicts.scores import Measured, Rates, Reader, breakdown, measure_conflicts

__all__ = [
    "Conflict",
    "Item",
    "Measured",
    "Rates",
    "Reader",
    "alias_conflicts",
    "breakdown",
    "corpus_conflicts",
    "kind_of",
    "measure_conflicts",
    "names_of",
    "popularity_conflicts",
    "same_answer",
    "type_conflicts",
    "with_substitutes",
]
