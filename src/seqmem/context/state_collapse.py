"""Against state collapse: a Mamba-2 that was trained on short texts is made to forget, and reads long ones (Stuffed
Mamba: State Collapse and State Capacity of RNN-Based Long-Context Modeling, 2024, arXiv 2410.07145)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from seqmem.errors import InputError
from seqmem.mixers.forgetful_mamba2 import ForgetfulMamba2, forgetful

NAME = "seqmem.mixers.forgetful_mamba2:ForgetfulMamba2"


def without_collapse(
    model: Any,
    *,
    forget: float = 1.0,
    insert: float = 1.0,
    limit: float | None = None,
    every: int = 128,
    window: int | None = None,
    layers: Iterable[int] | None = None,
) -> Any:
    """A SequenceLM with the weights of ``model`` whose Mamba-2 layers forget more; the model itself is left as it is.

    model: a :class:`seqmem.models.SequenceLM` with ``mamba2`` layers, or a Mamba-2 of transformers, which is converted
    first (:mod:`seqmem.models.from_hf`; the weights are then copies, else the same tensors). forget, insert, limit,
    every, window: of :class:`seqmem.mixers.forgetful_mamba2.ForgetfulMamba2`. layers: which; default all that are
    Mamba-2. Nothing is trained. ``save_pretrained`` keeps it. InputError where there is no such layer.
    """
    from seqmem.models import SequenceLM
    from seqmem.models.config import SequenceConfig

    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind == "mamba2":
        model = SequenceLM.from_hf(model)
    elif kind != SequenceConfig.model_type:
        raise InputError(
            f"without_collapse was given a {type(model).__name__}, expected a SequenceLM with mamba2 layers or a "
            "Mamba-2 of transformers"
        )
    remedies = {"forget": forget, "insert": insert, "limit": limit, "every": every, "window": window}
    names = [model.config.mixer(i)[0] for i in range(len(model.layers))]
    chosen = [i for i, name in enumerate(names) if name in ("mamba2", NAME)] if layers is None else sorted(set(layers))
    if not chosen or any(not 0 <= i < len(names) or names[i] not in ("mamba2", NAME) for i in chosen):
        raise InputError(f"layers is {chosen}, expected some that are mamba2; the model has {', '.join(names)}")
    shared = {id(p): p for p in (*model.parameters(), *model.buffers())}
    found = copy.deepcopy(model, shared)
    for i in chosen:
        options = {k: v for k, v in model.config.mixer(i)[1].items() if k not in remedies}
        found.layers[i].mixer = forgetful(model.layers[i].mixer, options, remedies)
        found.config.layers[i] = {"name": NAME, **options, **remedies}
    return found


def forget_threshold(excess: Mapping[int, float], tolerance: float = 0.05) -> int | None:
    """The capacity curve's point for one size of state: the shortest training length above which no model loses more
    than ``tolerance`` nats beyond its training length; None where even the longest does.

    excess: ``{training length: loss far beyond it - loss within it}``.
    """
    found = None
    for length in sorted(excess, reverse=True):
        if not excess[length] <= tolerance:
            break
        found = length
    return found


def passkey_capacity(accuracy: Mapping[int, float], at_least: float = 0.95) -> int | None:
    """The longest context up to which every accuracy is at least so high; None where the shortest has less.

    accuracy: ``{length of the context: share of keys that were found}``.
    """
    found = None
    for length in sorted(accuracy):
        if not accuracy[length] >= at_least:
            break
        found = length
    return found


__all__ = ["ForgetfulMamba2", "forget_threshold", "passkey_capacity", "without_collapse"]
