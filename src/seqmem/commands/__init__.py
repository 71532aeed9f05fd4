"""The commands of ``seqmem``, one module each: ``SUMMARY``, ``add(parser)`` for the arguments, ``run(arguments)`` for
the exit code. They import what they need when they run, so that ``seqmem --help`` stays quick."""

from __future__ import annotations

from seqmem.commands import (
    assets,
    bench,
    check,
    compare,
    data,
    doctor,
    eval,
    mixers,
    papers,
    plan,
    reproduce,
    score,
    tasks,
    train,
)

COMMANDS = {
    "compare": compare,
    "eval": eval,
    "train": train,
    "data": data,
    "check": check,
    "score": score,
    "bench": bench,
    "doctor": doctor,
    "plan": plan,
    "mixers": mixers,
    "tasks": tasks,
    "assets": assets,
    "papers": papers,
    "reproduce": reproduce,
}
