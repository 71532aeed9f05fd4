"""Theorems and scaling laws as numerical experiments, and constructions by hand."""

from seqmem.theory.associative_memory import AssocMemory, fit_exponent, train_memory, unseen_mass, zipf
from seqmem.theory.globality import globality, globality_degree
from seqmem.theory.gradient_horizon import decay_per_step, gradient_horizon
from seqmem.theory.lag_compiler import compile_turing_machine
from seqmem.theory.lag_executor import LearnedRules, learn_rules
from seqmem.theory.lag_system import LagSystem
from seqmem.theory.layer_tables import attention_taxonomy, layer_horizon, taxonomy
from seqmem.theory.ngram_transformer import NgramTransformer, sparsemax, table_lookup
from seqmem.theory.turing import MACHINES, TuringMachine, random_machine

__all__ = [
    "MACHINES",
    "AssocMemory",
    "LagSystem",
    "LearnedRules",
    "NgramTransformer",
    "TuringMachine",
    "attention_taxonomy",
    "compile_turing_machine",
    "decay_per_step",
    "fit_exponent",
    "globality",
    "globality_degree",
    "gradient_horizon",
    "layer_horizon",
    "learn_rules",
    "random_machine",
    "sparsemax",
    "table_lookup",
    "taxonomy",
    "train_memory",
    "unseen_mass",
    "zipf",
]
