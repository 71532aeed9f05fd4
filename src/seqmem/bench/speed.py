"""Every op against each of its peers, both passes, at each length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from seqmem.bench import passes, roofline
from seqmem.bench.cases import Case, Sizes
from seqmem.bench.measure import Timing, against, alone
from seqmem.bench.peers import PASSES, Peer
from seqmem.errors import line_of

Record = dict[str, Any]


class Differs(Exception):
    """A peer computes something else."""


def measure_case(case: Case, length: int, seconds: float, peers: bool) -> Iterator[Record]:
    """One op at one length: for each pass a record of the op alone, then one for each peer."""
    sizes = Sizes(length)
    inputs = case.inputs(sizes, torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = case.ours(*inputs)
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randn(output.shape, dtype=output.dtype, generator=generator)
    output_bytes = output.numel() * output.element_size()
    del output
    for which in PASSES:
        ours = _call(case.ours, inputs, gradient, which)
        base = {"kind": "time", "op": case.op, "variant": case.variant, "pass": which, "length": length}
        least = roofline.limit(case, sizes, inputs, output_bytes, which)
        own = alone(ours, seconds / 2)
        yield base | _record(None, "ok", ours_ms=1e3 * own) | _fraction(least, own)
        for peer in case.peers if peers else ():
            if which in peer.passes:
                yield base | _against(peer, ours, inputs, gradient, which, length, seconds, least)


def _against(
    peer: Peer,
    ours: Callable[[], passes.Results],
    inputs: Sequence[torch.Tensor],
    gradient: torch.Tensor,
    which: str,
    length: int,
    seconds: float,
    least: roofline.Limit,
) -> Record:
    if peer.missing():
        return _record(peer, "not installed", f"not installed ({peer.install})")
    if peer.longest is not None and length > peer.longest:
        return _record(peer, "not run", f"not run beyond {peer.longest} positions: {peer.limit}")
    if length % peer.multiple:
        return _record(peer, "not run", f"not run: it takes lengths that are multiples of {peer.multiple}")
    gap = None

    def agree(expected: passes.Results, found: passes.Results) -> None:
        nonlocal gap
        if peer.yardstick:
            return
        if peer.transposed:
            found = tuple(None if x is None else passes.exchanged(x) for x in found)
        gap = passes.difference(expected, found)
        if gap > peer.tolerance:
            raise Differs(f"its result differs from ours by {gap:.2g} (tolerance {peer.tolerance:g})")

    try:
        layout = passes.exchanged if peer.transposed else (lambda x: x)
        theirs = _call(peer.call, tuple(map(layout, inputs)), layout(gradient), which)
        timing = against(ours, theirs, seconds, agree)
    except Differs as error:
        return _record(peer, "differs", str(error), difference=gap)
    except Exception as error:  # somebody else's code: what it says is the result
        return _record(peer, "failed", f"failed: {type(error).__name__}: {line_of(error)[:300]}")
    return _record(peer, "ok", _note(timing), difference=gap, **_figures(timing)) | _fraction(least, timing.ours)


def _call(
    function: passes.Function, inputs: tuple[torch.Tensor, ...], gradient: torch.Tensor, which: str
) -> Callable[[], passes.Results]:
    if which == "forward":
        return passes.forward(function, inputs)
    return passes.forward_backward(function, inputs, gradient)


def _figures(t: Timing) -> Record:
    return {
        "ratio": t.ratio,
        "ratio_low": t.low,
        "ratio_high": t.high,
        "ours_ms": 1e3 * t.ours,
        "peer_ms": 1e3 * t.other,
        "rounds": t.rounds,
    }


def _note(t: Timing) -> str:
    return f"called once: it takes {t.other:.0f} s" if t.low is None else ""


def _fraction(least: roofline.Limit, seconds: float) -> Record:
    return {"roofline_fraction": least.seconds / seconds, "roofline_limit": least.kind}


def _record(peer: Peer | None, status: str, note: str = "", **figures: Any) -> Record:
    """A record with every key, those without a value None."""
    empty = dict.fromkeys(
        ("ratio", "ratio_low", "ratio_high", "ours_ms", "peer_ms", "rounds", "difference", "roofline_fraction",
         "roofline_limit")
    )  # fmt: skip
    return {
        "peer": None if peer is None else peer.name,
        "yardstick": peer is not None and peer.yardstick,
        "tolerance": None if peer is None or peer.yardstick else peer.tolerance,
        "status": status,
        "note": note,
        **empty,
        **figures,
    }
