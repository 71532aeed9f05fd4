"""More or better used context for an existing language model: any Hugging Face causal LM, or ours."""

from seqmem.context.attention_sorting import SortedDocuments, Sorting, prompts_of, sort_by_attention, sort_documents
from seqmem.context.document_attention import DocumentAttention, document_attention
from seqmem.context.recurrent_memory import RecurrentMemory, RecurrentMemoryOutput
from seqmem.context.repeat_prompt import repeat_prompt
from seqmem.context.state_collapse import forget_threshold, passkey_capacity, without_collapse

__all__ = [
    "DocumentAttention",
    "RecurrentMemory",
    "RecurrentMemoryOutput",
    "SortedDocuments",
    "Sorting",
    "document_attention",
    "forget_threshold",
    "passkey_capacity",
    "prompts_of",
    "repeat_prompt",
    "sort_by_attention",
    "sort_documents",
    "without_collapse",
]
