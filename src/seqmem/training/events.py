"""What an engine reports while it works. A progress display is any callable that takes these one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from seqmem.training.job import Job

Kind = Literal["queued", "reused", "started", "step", "busy", "retried", "finished"]


@dataclass(frozen=True)
class Event:
    """``queued``: known, before anything runs. ``reused``: its result was in the store. ``started``: a worker has it.
    ``step``: where it is, with a few words about it. ``busy``: another process is at work on it; it is asked for again
    later. ``retried``: its worker died (``detail`` says how), another goes on from the checkpoint. ``finished``: with
    its result, whatever the status."""

    kind: Kind
    job: Job[Any]
    step: float = 0
    steps: float = 1
    words: str = ""
    result: Any = None
    detail: str = ""


OnEvent = Callable[[Event], None]
