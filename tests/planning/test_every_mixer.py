"""For every layer of the library: what is traced without numbers is what a real run shows."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seqmem.mixers import MIXERS
from seqmem.mixers.state import state_bytes
from seqmem.models import SequenceConfig, parameter_count
from seqmem.planning.measure import torch_counts
from seqmem.planning.memory import growth
from seqmem.planning.parts import Piece, build, parts
from seqmem.planning.trace import saved_tensors, trace, weights
from tests.mixers.some import some_mixers

ROWS, TIME = 2, 12
# its cluster's sorting leaves one mask in two layouts, of which only a real call keeps both
NEARLY = {"routing_transformer": 0.05}


@pytest.mark.parametrize("name", some_mixers())
def test_traced_as_run(name: str) -> None:
    config = SequenceConfig(17, 16, layers=[{"name": name}], mlp_width=8)
    part, around = parts(config)
    piece = Piece(config, part, ROWS, TIME, torch.float32)
    found = trace(piece.build, piece.run, piece.dtype)

    module = piece.build()
    with saved_tensors(module) as kept:
        _, _, state = piece.run(module)
    assert found.saved == pytest.approx(kept.bytes, rel=NEARLY.get(name, 0))
    assert found.state == state_bytes(state)
    with FlopCounterMode(display=False, custom_mapping=torch_counts()) as counter:
        output, gradient, _ = piece.run(module)
        forward = counter.get_total_flops()
        output.backward(gradient)
    counted = [sum(call.flops * n for call, n in calls.items()) for calls in (found.forward, found.backward)]
    assert counted == [forward, counter.get_total_flops() - forward]
    numbers = sum(sum(weights(lambda p=p: build(config, p))) for p in (part, around))  # type: ignore[misc]
    assert numbers == parameter_count(config)


@pytest.mark.parametrize("name", some_mixers())
def test_state_is_the_line(name: str) -> None:
    config = SequenceConfig(17, 16, layers=[{"name": name}], mlp_width=0)
    part = parts(config)[0]
    line = growth(config, part, 16, torch.float32)
    assert (line.per_position > 0) == (MIXERS[name].memory == "linear")
    module = build(config, part)
    for time in (7, 40):
        with torch.no_grad():
            _, state = module(torch.zeros(1, time, 16))
        assert state_bytes(state) == line.at(time)
