"""Theorems and scaling laws as numerical experiments, and constructions by hand."""

from seqmem.theory.associative_memory import AssocMemory, fit_exponent, train_memory, unseen_mass, zipf
from seqmem.theory.lag_compiler import compile_turing_machine
from seqmem.theory.lag_executor import LearnedRules, learn_rules
from seqmem.theory.lag_system import LagSystem
from seqmem.theory.turing import MACHINES, TuringMachine, random_machine

__all__ = [
    "MACHINES",
    "AssocMemory",
    "LagSystem",
    "LearnedRules",
    "TuringMachine",
    "compile_turing_machine",
    "fit_exponent",
    "learn_rules",
    "random_machine",
    "train_memory",
    "unseen_mass",
    "zipf",
]
