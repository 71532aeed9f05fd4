"""Point 7: what ``state_dict`` holds is all there is to a layer's weights, and bfloat16 autocast runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from seqmem.testing.independence import plain_tensors
from seqmem.testing.subject import Measure, Subject, Violation, difference, in_form, one_line, run

BATCH, TIME, BOUND = 2, 23, 1e-12


@torch.no_grad()
def round_trip(subject: Subject) -> Measure:
    """Saved from one layer, loaded into another that was drawn with another seed: both answer alike."""
    saved, loaded = subject.layer(copy=0), subject.layer(copy=1)
    hidden = _trained_outside(saved)
    if hidden:
        raise Violation(
            f"'{hidden}' asks for gradients but is not in state_dict(): make it an nn.Parameter of a registered module"
        )
    x, more = subject.noise(BATCH, TIME, salt=60), subject.noise(BATCH, TIME, salt=61)
    y, state = run(saved, x)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "layer.safetensors")
        try:
            save_model(saved, path)
            load_model(loaded, path)
        except Exception as error:
            raise Violation(f"safetensors raised {one_line(error)}") from error
    y_loaded, state_loaded = run(loaded, x)
    gap = max(difference(y_loaded, y), difference(run(loaded, more, state_loaded)[0], run(saved, more, state)[0]))
    if gap > BOUND:
        raise Violation(
            f"a second layer with the saved weights differs by {gap:.1e}: {_missing(saved, loaded)}", gap, BOUND
        )
    return Measure(f"safetensors round trip {gap:.1e} ≤ {BOUND:.0e}", gap, BOUND)


def _trained_outside(layer: nn.Module) -> str | None:
    registered = {id(p) for p in layer.parameters()}
    for name, t in plain_tensors(layer):
        if t.requires_grad and t.is_leaf and id(t) not in registered:
            return name
    return None


def _missing(saved: nn.Module, loaded: nn.Module) -> str:
    others = dict(plain_tensors(loaded))
    for name, t in plain_tensors(saved):
        if name in others and (others[name].shape != t.shape or not torch.equal(others[name], t)):
            return f"'{name}' is not in state_dict(); make it a parameter or a persistent buffer"
    return "something that matters is not in state_dict()"


def autocast(subject: Subject) -> Measure:
    """Forward, continuation by single tokens, and backward under bfloat16 autocast, in every form."""
    worst = 0.0
    for form in subject.every_form():
        layer = subject.layer(torch.float32)
        x, token = (subject.noise(BATCH, time, salt=62, dtype=torch.float32) for time in (TIME, 1))
        plain, _ = run(layer, x, form=form)
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                y, state = run(layer, x, form=form)
                after, _ = run(layer, token, state, form=form)
            if y.requires_grad:
                (y.float().mean() + after.float().mean()).backward()
        except Violation as violation:
            raise Violation(f"under bfloat16 autocast {violation}") from violation
        except RuntimeError as error:
            raise Violation(f"under bfloat16 autocast the backward pass raised {one_line(error)}") from error
        gradients = [p.grad for p in layer.parameters() if p.grad is not None]
        if not all(bool(torch.isfinite(t).all()) for t in (y, after, *gradients)):
            raise Violation(f"under bfloat16 autocast y or a gradient is not finite{in_form(form)}")
        worst = max(worst, difference(y.float(), plain))
    return Measure(f"bfloat16 autocast runs (y within {worst:.1e})", worst)
