"""More or better used context for an existing language model: any Hugging Face causal LM, or ours."""

from seqmem.context.recurrent_memory import RecurrentMemory, RecurrentMemoryOutput

__all__ = ["RecurrentMemory", "RecurrentMemoryOutput"]
