"""What an engine reports while it works. A progress display is any callable that takes these one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from seqmem.training.experiment import Experiment
from seqmem.training.schema import Result

Kind = Literal["queued", "reused", "started", "step", "busy", "retried", "finished"]


@dataclass(frozen=True)
class Event:
    """``queued``: known, before anything runs. ``reused``: its result was in the store. ``started``: a worker has it.
    ``step``: where its training is. ``busy``: another process is at work on it; it is asked for again later.
    ``retried``: its worker died (``detail`` says how), another goes on from the checkpoint. ``finished``: with its
    result, whatever the status."""

    kind: Kind
    experiment: Experiment
    step: int = 0
    loss: float | None = None
    validation: float | None = None
    result: Result | None = None
    detail: str = ""


OnEvent = Callable[[Event], None]
