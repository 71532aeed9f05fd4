"""Sentences with a gap, made from any book: which of ten words of its class was there?

The Goldilocks Principle: Reading Children's Books with Explicit Memory Representations (2016), arXiv 1511.02301.
docs/cloze.md shows it.
"""

from seqmem.tasks.cloze.builder import BLANK, Cloze, cloze_questions
from seqmem.tasks.cloze.classes import CLASSES, word_classes
from seqmem.tasks.cloze.memories import Memories, memories_of
from seqmem.tasks.cloze.ngram import CachedNgrams
from seqmem.tasks.cloze.text import sentences_of

__all__ = [
    "BLANK",
    "CLASSES",
    "CachedNgrams",
    "Cloze",
    "Memories",
    "cloze_questions",
    "memories_of",
    "sentences_of",
    "word_classes",
]
