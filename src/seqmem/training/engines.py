"""Which engine runs many jobs: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from seqmem.errors import InputError, did_you_mean
from seqmem.training.engine import run_all
from seqmem.training.events import OnEvent
from seqmem.training.job import Job, R
from seqmem.training.store import Store

ENGINES = ("local", "ray")
NO_RAY = "engine 'ray' needs Ray, which is not installed; pip install 'seqmem[ray]'"


class Engine(NamedTuple):
    """``name``: one of ENGINES. ``address``: of the Ray cluster; None starts Ray on this machine."""

    name: str = "local"
    address: str | None = None


LOCAL = Engine()


def make_engine(name: str, address: str | None = None) -> Engine:
    """Raises InputError for an engine that there is not, that is not installed, or that has no addresses."""
    if name not in ENGINES:
        raise InputError(f"engine is '{name}', expected one of {', '.join(ENGINES)}.{did_you_mean(name, ENGINES)}")
    if name == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError(NO_RAY)
    if name == "local" and address is not None:
        raise InputError(f"address is '{address}' and the engine 'local', which has none; add --engine ray")
    return Engine(name, address)


def run_with(
    engine: Engine, jobs: Sequence[Job[R]], store: Store, workers: int | None = None, on_event: OnEvent | None = None
) -> Iterator[R]:
    """Every job's result, as they come; ``workers`` counts for "local" alone."""
    if engine.name == "ray":
        from seqmem.training.ray_engine import run_on_ray

        return run_on_ray(jobs, store, engine.address, on_event)
    return run_all(jobs, store, workers, on_event)
