"""Reading memory out: what is chosen from a model's distribution, whether it ends, and whether it repeats itself.

Processors have the call of transformers' own, ``processor(input_ids, scores) -> scores``, and go into
``model.generate(..., logits_processor=LogitsProcessorList([...]))``.
"""

from seqmem.decoding.answering import chosen, generated, log_likelihoods, reader_of
from seqmem.decoding.fallback import LABELS, classify_items, first_of_each, follows_shift_order
from seqmem.decoding.locally_typical import LocallyTypical
from seqmem.decoding.repetition import (
    Loop,
    distinct,
    diversity,
    entropy_band,
    find_loop,
    information,
    non_termination,
    repeated_ngrams,
    repeated_within,
)
from seqmem.decoding.self_terminating import (
    MonotoneTermination,
    NonMonotonicTermination,
    monotone_log_probs,
    non_monotonic_log_probs,
)

__all__ = [
    "LABELS",
    "LocallyTypical",
    "Loop",
    "MonotoneTermination",
    "NonMonotonicTermination",
    "chosen",
    "classify_items",
    "distinct",
    "diversity",
    "entropy_band",
    "find_loop",
    "first_of_each",
    "follows_shift_order",
    "generated",
    "information",
    "log_likelihoods",
    "monotone_log_probs",
    "non_monotonic_log_probs",
    "non_termination",
    "reader_of",
    "repeated_ngrams",
    "repeated_within",
]
