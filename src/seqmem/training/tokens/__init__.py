"""Text as tokens on disk, and how a training reads them.

texts -> (tokenizer) -> prepare: files of text become shards and an index. stream: shards and the token files of others,
memory-mapped, as one long row of tokens. order: which tokens a step reads.
"""
