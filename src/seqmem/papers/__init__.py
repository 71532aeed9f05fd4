"""Papers as commands: what each claims, the experiment, the figures, and a verdict that follows from them by a rule.

``cards()`` are all the papers; ``load(slug)`` is the module of one that is built; ``check(slug)`` runs its experiment
and returns the :class:`~seqmem.papers.evidence.Evidence`. docs/papers.md says how to add one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmem.papers.card import cards
    from seqmem.papers.evidence import Evidence
    from seqmem.papers.run import check, load

__all__ = ["MODULES", "Evidence", "cards", "check", "load"]

#: slug -> module of every paper that is built, by room, in alphabetical order
MODULES: dict[str, str] = {
    # cognition
    "cmr-heads": "seqmem.papers.cmr_heads",
    "verbatim-memory-surprisal": "seqmem.papers.verbatim_memory_surprisal",
    # context
    "attention-sorting": "seqmem.papers.attention_sorting",
    "just-read-twice": "seqmem.papers.just_read_twice",
    # continual
    "ewc": "seqmem.papers.ewc",
    "spurious-forgetting": "seqmem.papers.spurious_forgetting",
    # decoding
    "fallback-behaviors": "seqmem.papers.fallback_behaviors",
    "locally-typical": "seqmem.papers.locally_typical",
    "nmst-lm": "seqmem.papers.nmst_lm",
    # interp
    "implicit-attention": "seqmem.papers.implicit_attention",
    "induction-heads": "seqmem.papers.induction_heads",
    "retrieval-heads": "seqmem.papers.retrieval_heads",
    "sixteen-heads": "seqmem.papers.sixteen_heads",
    # mixers
    "aaren": "seqmem.papers.aaren",
    "dual-attention": "seqmem.papers.dual_attention",
    "fan": "seqmem.papers.fan",
    "gateloop": "seqmem.papers.gateloop",
    "griffin": "seqmem.papers.griffin",
    "landmark": "seqmem.papers.landmark",
    "lightnet": "seqmem.papers.lightnet",
    "lru": "seqmem.papers.lru",
    "lssl": "seqmem.papers.lssl",
    "lstm-odyssey": "seqmem.papers.lstm_odyssey",
    "minrnn": "seqmem.papers.minrnn",
    "relational-memory-core": "seqmem.papers.relational_memory_core",
    "retnet": "seqmem.papers.retnet",
    "rnn-of-rnns": "seqmem.papers.rnn_of_rnns",
    "routing-transformer": "seqmem.papers.routing_transformer",
    "rwkv": "seqmem.papers.rwkv",
    "sparse-rnn": "seqmem.papers.sparse_rnn",
    "state-collapse": "seqmem.papers.state_collapse",
    "synaptic-resonance": "seqmem.papers.synaptic_resonance",
    "temporal-perspectives": "seqmem.papers.temporal_perspectives",
    "titans": "seqmem.papers.titans",
    "unitary-rnn-syntax": "seqmem.papers.unitary_rnn_syntax",
    "wave-rnn": "seqmem.papers.wave_rnn",
    # models
    "memn2n": "seqmem.papers.memn2n",
    "rmt": "seqmem.papers.rmt",
    # survey
    "attention-survey": "seqmem.papers.attention_survey",
    "rnn-critical-review": "seqmem.papers.rnn_critical_review",
    # tasks
    "cbt-window-memory": "seqmem.papers.cbt_window_memory",
    "chomsky-hierarchy": "seqmem.papers.chomsky_hierarchy",
    "emergent-capacity": "seqmem.papers.emergent_capacity",
    "emergent-timescales": "seqmem.papers.emergent_timescales",
    "embers": "seqmem.papers.embers",
    "knowledge-conflicts": "seqmem.papers.knowledge_conflicts",
    "mbml-piecewise": "seqmem.papers.mbml_piecewise",
    "othello-gpt": "seqmem.papers.othello_gpt",
    "path-star": "seqmem.papers.path_star",
    "random-access-context": "seqmem.papers.random_access_context",
    "random-memory-access": "seqmem.papers.random_memory_access",
    "retrieval-problem-depth": "seqmem.papers.retrieval_problem_depth",
    "scan": "seqmem.papers.scan",
    "template-tasks": "seqmem.papers.template_tasks",
    "tree-or-line": "seqmem.papers.tree_or_line",
    "temporal-grounding": "seqmem.papers.temporal_grounding",
    "visual-scratchpad": "seqmem.papers.visual_scratchpad",
    # theory
    "assoc-memory-scaling": "seqmem.papers.assoc_memory_scaling",
    "lag-system": "seqmem.papers.lag_system",
    "ngram-transformer": "seqmem.papers.ngram_transformer",
}

_HOMES = {"cards": "card", "load": "run", "check": "run", "Evidence": "evidence"}


def __getattr__(name: str) -> Any:
    """Nothing is imported until it is asked for: ``seqmem papers`` is to answer at once."""
    if name not in _HOMES:
        raise AttributeError(f"module 'seqmem.papers' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"seqmem.papers.{_HOMES[name]}"), name)
