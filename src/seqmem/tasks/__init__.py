"""Data with a known answer. Every task by name, in one table; :func:`get_task` makes one from its name and options."""

from __future__ import annotations

import importlib
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from seqmem.errors import InputError, did_you_mean
from seqmem.loading import load_class

if TYPE_CHECKING:
    from seqmem.tasks.base import Task


class TaskEntry(NamedTuple):
    """One row of ``seqmem tasks``."""

    name: str
    class_name: str
    summary: str
    source: str


def _rows(*rows: tuple[str, str, str, str]) -> dict[str, TaskEntry]:
    return {row[0]: TaskEntry(*row) for row in rows}


TASKS: dict[str, TaskEntry] = _rows(
    ("mqar", "MQAR", "multi-query associative recall: key-value pairs, then keys whose values are asked",
     "Zoology (2023), arXiv 2312.04927"),
    ("copying", "Copying", "say again the string of symbols that was just read",
     "Neural Turing Machines (2014), arXiv 1410.5401"),
    ("selective_copying", "SelectiveCopying", "say again, in order, the few symbols strewn among blanks",
     "Mamba (2023), arXiv 2312.00752"),
    ("parity", "Parity", "is the number of ones so far odd?",
     "Neural Networks and the Chomsky Hierarchy (2022), arXiv 2207.02098"),
    ("in_context_recall", "InContextRecall", "which value has this key in this example?",
     "Mechanistic Design (2024), arXiv 2403.17844"),
    ("fuzzy_recall", "FuzzyRecall", "which value has this key, when both are several tokens long?",
     "Mechanistic Design (2024), arXiv 2403.17844"),
    ("noisy_recall", "NoisyRecall", "which value has this key, with noise between the pairs?",
     "Mechanistic Design (2024), arXiv 2403.17844"),
    ("memorization", "Memorization", "facts that are the same in every example, held by the weights",
     "Mechanistic Design (2024), arXiv 2403.17844"),
    ("compression", "Compression", "all that was read, out of the one vector at the end",
     "Mechanistic Design (2024), arXiv 2403.17844"),
    ("compositional_recall", "CompositionalRecall", "which value followed this pair of tokens, not one of them?",
     "Zoology (2023), arXiv 2312.04927, a variant"),
    ("induction", "Induction", "what followed the marker, when it was seen the first time?",
     "Hungry Hungry Hippos (2022), arXiv 2212.14052"),
    ("adding", "Adding", "the sum of the two numbers that were marked",
     "Long Short-Term Memory (1997)"),
    ("listops", "ListOps", "the value of nested lists: maximum, minimum, median, sum modulo ten",
     "ListOps (2018), arXiv 1804.06028; Long Range Arena (2020), arXiv 2011.04006"),
    ("scratchpad_parity", "ScratchpadParity", "running parities written down: behind the bits, between them, or marked",
     "Your Context Is Not an Array (2024), arXiv 2408.05506"),
    ("chomsky", "Chomsky", "fifteen tasks on strings, from even pairs to square roots, by the machine they ask for",
     "Neural Networks and the Chomsky Hierarchy (2022), arXiv 2207.02098"),
    ("memory_horizon", "MemoryHorizon", "the sum of the numbers read since the last reset",
     "GateLoop (2023), arXiv 2311.01927"),
    ("set_intersection", "SetIntersection", "which item is in both lists, a short one and a long one?",
     "Just read twice (2024), arXiv 2407.05483"),
    ("bytes", "Bytes", "the next byte of real text: a novel inside the package, or your own file or folder",
     "Moby-Dick; or, The Whale (1851), public domain"),
    ("path_star", "PathStar", "the path through a star to one of its ends, which arm first",
     "The pitfalls of next-token prediction (2024), arXiv 2403.06963"),
    ("stories", "Stories", "people walk about and carry things; a question that needs one, two or three sentences",
     "bAbI (2015), arXiv 1502.05698, its kinds of question"),
    ("fact_recall", "FactRecall", "facts of a synthetic world: told, asked, asked in other words, or never told",
     "own; Physics of Language Models: Part 3.1 (2023), arXiv 2309.14316"),
    ("digits", "Digits", "which digit, from its image read pixel by pixel (8x8, or one's own)",
     "Optical Recognition of Handwritten Digits (1998), UCI, CC BY 4.0"),
    ("permuted_digits", "PermutedDigits", "which digit, its pixels in an order that means nothing?",
     "IRNN (2015), arXiv 1504.00941"),
    ("delayed_copying", "DelayedCopying", "say the few symbols of the beginning, after nothing for a long time",
     "Unitary Evolution Recurrent Neural Networks (2015), arXiv 1511.06464"),
    ("dyck", "Dyck", "well nested brackets of several kinds: which one closes now?",
     "Can Recurrent Neural Networks Learn Nested Recursion? (2018), LiLT 16"),
    ("cross_serial", "CrossSerial", "a^m b^n c^m d^n: what comes next, once the counts decide it",
     "Assessing the Unitary RNN (2022), arXiv 2208.05719"),
    ("reber", "Reber", "strings of a small automaton: which symbol closes this one, or is it one at all?",
     "Implicit Learning of Artificial Grammars (1967); Long Short-Term Memory (1997)"),
    ("templates", "Templates", "strings that follow a template such as 'a b a', of symbols seen in training or not",
     "When can transformers reason with abstract symbols? (2023), arXiv 2310.09753"),
    ("needle", "Needle", "text: one sentence about a secret word in prose about nothing; what was the word?",
     "RULER (2024), arXiv 2404.06654, its kinds of task"),
    ("multi_needle", "MultiNeedle", "text: several such sentences about different places; one of them is asked",
     "RULER (2024), arXiv 2404.06654, its kinds of task"),
    ("passkey", "Passkey", "text: five digits somewhere in prose, to be said again",
     "Landmark Attention (2023), arXiv 2305.16300, its kind of task"),
    ("variable_tracking", "VariableTracking", "text: let one letter be a number, another be that letter, and so on",
     "RULER (2024), arXiv 2404.06654, its kinds of task"),
    ("question_answering", "QuestionAnswering", "text: who is where, who has what, from facts strewn over prose",
     "bAbI (2015), arXiv 1502.05698; BABILong (2024), arXiv 2406.10149, their kinds of question"),
    ("key_value_updates", "KeyValueUpdates", "text: things are painted again and again; the last colour counts",
     "Unable to Forget (2025), arXiv 2506.08184, its kind of task"),
    ("passages", "Passages", "texts written into the weights under a name, read as a whole or one sentence alone",
     "Beyond Memorization: The Challenge of Random Memory Access in Language Models (2024), arXiv 2403.07805"),
    ("scan", "Scan", "commands such as 'jump around left twice', translated into actions",
     "Generalization without systematicity (2018), arXiv 1711.00350"),
    ("hops", "Hops", "links of chains in any order, then: which symbol is so many links on?",
     "Mechanism and Emergence of Stacked Attention Heads (2024), arXiv 2411.12118"),
    ("bit_stream", "BitStream", "a stream of bits: parity of the last N, or does the last equal the first of them?",
     "Emergent mechanisms for long timescales depend on training curriculum (2024), arXiv 2309.12927"),
    ("concept_strings", "ConceptStrings", "strings that name a value of every concept, in any order; new combinations",
     "Capacity, Bandwidth, and Compositionality in Emergent Language Learning (2019), arXiv 1910.11424"),
    ("embers", "Embers", "text, and string tasks with a common and rare rules: ciphers, Pig Latin, sorting and more",
     "Embers of Autoregression (2023), arXiv 2309.13638"),
    ("tree_or_line", "TreeOrLine", "questions from sentences: which auxiliary moves, by the tree or by the line?",
     "Sometimes I am a Tree (2024), arXiv 2412.04619"),
    ("temporal_order", "TemporalOrder", "which of two events came first, in stories told in their order or not",
     "Are Large Language Models Temporally Grounded? (2023), arXiv 2311.08398, its kind of question"),
    ("cloze_stories", "ClozeStories", "a gap in a story: a name that only the story tells, or a local word",
     "The Goldilocks Principle (2016), arXiv 1511.02301, its form of question"),
    ("knowledge_conflicts", "KnowledgeConflicts", "questions behind passages that contradict what was learned",
     "Entity-Based Knowledge Conflicts in Question Answering (2021), arXiv 2109.05052"),
    ("othello", "Othello", "games of random legal moves of Othello: name a legal next move",
     "Emergent World Representations (2022), arXiv 2210.13382"),
)  # fmt: skip


def get_task(name: str, **options: Any) -> Task:
    """The task ``name`` with these options; a name of :data:`TASKS`, or ``"package.module:ClassName"`` for a task of
    one's own.

    Raises InputError for an unknown name or option (with the nearest known one) or a bad value, and for a class that
    cannot be imported or is no task.
    """
    cls: Any = task_class(name)
    known = [field.name for field in fields(cls)]
    for option in options:
        if option not in known:
            near = did_you_mean(option, known)
            raise InputError(f"task '{name}' has no option '{option}'.{near} Known: {', '.join(known) or 'none'}")
    return cls(**options)


def task_class(name: str) -> type[Task]:
    """The class behind a name, as :func:`get_task` takes it."""
    if ":" in name:
        from seqmem.tasks.base import Task

        return load_class(name, Task, "task", "a frozen dataclass derived from seqmem.tasks.base.Task")
    if name not in TASKS:
        raise InputError(
            f"unknown task '{name}'.{did_you_mean(name, TASKS)} Known: {', '.join(TASKS)}; "
            "or give your own as package.module:ClassName"
        )
    return getattr(importlib.import_module(f"seqmem.tasks.{name}"), TASKS[name].class_name)


def summary_of(name: str) -> str:
    """One line about a task: its row of the table, or the first line of the docstring of one's own."""
    if name in TASKS:
        return TASKS[name].summary
    return (task_class(name).__doc__ or "").strip().partition("\n")[0]


def describe(name: str, **options: Any) -> dict[str, Any]:
    """What there is to know of the task ``name`` with these options, as plain data for JSON: a row of ``seqmem tasks
    --json``.

    Raises InputError as :func:`get_task` does.
    """
    from seqmem.tasks.grid import changes_of

    task = get_task(name, **options)
    return {
        "name": name,
        "summary": summary_of(name),
        "source": TASKS[name].source if name in TASKS else "",
        "vocab_size": task.vocab_size,
        "metric": task.metric,
        "chance": task.chance,
        "solved_at": task.solved_at,
        "readout": task.readout,
        "baseline": dict(task.baseline),
        "changes": changes_of(task),
        "train_length": task.train_length,
        "test_lengths": list(task.test_lengths),
        "slices": list(task.slices),
        "options": {field.name: getattr(task, field.name) for field in fields(task)},
    }
