"""Stories of events in time, questions about their order, and how answers are scored.

Are Large Language Models Temporally Grounded? (2023), arXiv 2311.08398. docs/temporal-grounding.md shows it.
"""

from seqmem.tasks.temporal.probe import dated_sentences, order_correlation
from seqmem.tasks.temporal.questions import Asked, asked_about, choices_about, ordering_prompt
from seqmem.tasks.temporal.scores import (
    Pairs,
    pairwise_order,
    read_order,
    score_candidates,
    score_pairs,
    yes_or_no,
)
from seqmem.tasks.temporal.timeline import Told, tell_timelines

__all__ = [
    "Asked",
    "Pairs",
    "Told",
    "asked_about",
    "choices_about",
    "dated_sentences",
    "order_correlation",
    "ordering_prompt",
    "pairwise_order",
    "read_order",
    "score_candidates",
    "score_pairs",
    "tell_timelines",
    "yes_or_no",
]
