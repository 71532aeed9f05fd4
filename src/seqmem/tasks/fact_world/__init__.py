"""A synthetic world of which everything is known: facts first, then the words they are told and asked in.

``FactWorld(seed)`` is the world; docs/fact-world.md shows what it is good for. The task ``fact_recall`` is made of
it.
"""

from seqmem.tasks.fact_world.facts import KINDS, Entity, Fact
from seqmem.tasks.fact_world.relations import RELATIONS, Relation
from seqmem.tasks.fact_world.splits import Split
from seqmem.tasks.fact_world.surface import Question, Sentence
from seqmem.tasks.fact_world.words import Words
from seqmem.tasks.fact_world.world import FactWorld

__all__ = [
    "KINDS", "RELATIONS", "Entity", "Fact", "FactWorld", "Question", "Relation", "Sentence", "Split", "Words",
]  # fmt: skip
