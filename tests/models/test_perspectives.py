"""A language model that reads in several perspectives begins as the one it was made of, and works with all tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import RwkvConfig, RwkvForCausalLM

from seqmem.errors import InputError
from seqmem.mixers.state import state_bytes
from seqmem.models import (
    SequenceConfig,
    SequenceLM,
    build,
    load,
    parameter_count,
    perspective_parameters,
    with_perspectives,
)

WIDTH, TOKENS = 8, 11
LAYOUTS: dict[str, dict[str, Any]] = {
    "in turns": {"layers": ["rwkv4", "rwkv_channel_mix"] * 2, "mlp_width": 0},
    "as the MLP": {"layers": ["rwkv4"] * 2, "mlp": "rwkv", "mlp_width": 16, "norm": "layer", "embedding_norm": True},
    "learned positions": {"layers": ["rwkv4", "attention"], "positions": 32, "short_conv": 2},
}


def moved(lm: SequenceLM) -> SequenceLM:
    """Weights that begin at zero are so no longer."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in lm.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator).to(weight)
    return lm.eval()


@pytest.fixture(params=LAYOUTS)
def one(request: pytest.FixtureRequest) -> SequenceLM:
    return moved(build(SequenceConfig(TOKENS, WIDTH, **LAYOUTS[request.param])).double())


@torch.no_grad()
def test_it_begins_as_it_was_and_then_mixes_logits(one: SequenceLM, generator: torch.Generator) -> None:
    ids = torch.randint(TOKENS, (2, 9), generator=generator)
    before = [p.clone() for p in one.parameters()]
    three = with_perspectives(one, 3)
    expected, single = one.run(ids)
    logits, states = three.run(ids)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    assert state_bytes(states) == 3 * state_bytes(single)
    assert parameter_count(three.config) == sum(p.numel() for p in three.parameters())

    moved(three)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), before, strict=True))  # it is a copy
    views, streams = [], []
    for i in range(3):  # each perspective alone, as a model of its own
        alone = build(one.config).double().eval()
        weights = {n: w[i : i + 1] if n.endswith(".mu") else w for n, w in three.state_dict().items()}
        alone.load_state_dict({n: w for n, w in weights.items() if not n.startswith("views.")})
        views.append(alone.run(ids)[0])
        streams.append(alone._read(alone.embed_tokens(ids), None, None, None)[1])
    assert three.views is not None
    share = torch.softmax(sum(streams) / 3 @ three.views.shares.weight.T, -1)
    mixed = sum(share[..., i : i + 1] * view for i, view in enumerate(views))
    torch.testing.assert_close(three.run(ids)[0], mixed, rtol=1e-12, atol=1e-12)
    assert (mixed - views[0]).abs().max() > 1e-3


@torch.no_grad()
def test_pieces_padding_and_documents(one: SequenceLM, generator: torch.Generator) -> None:
    lm = moved(with_perspectives(one, 2))
    ids = torch.randint(TOKENS, (2, 8), generator=generator)
    whole, _ = lm.run(ids)
    first, states = lm.run(ids[:, :5])
    second, _ = lm.run(ids[:, 5:], states)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=1e-9, atol=1e-9)
    mask = torch.tensor([[False] * 3 + [True] * 5, [True] * 8])
    torch.testing.assert_close(lm.run(ids, mask=mask)[0][0, 3:], lm.run(ids[:1, 3:])[0][0], rtol=1e-9, atol=1e-9)
    reset = torch.zeros(2, 8, dtype=torch.bool)
    reset[:, 4] = True
    torch.testing.assert_close(lm.run(ids, reset=reset)[0][:, 4:], lm.run(ids[:, 4:])[0], rtol=1e-9, atol=1e-9)


def test_generate_save_and_load(tmp_path: Path, generator: torch.Generator) -> None:
    lm = moved(with_perspectives(build(SequenceConfig(TOKENS, WIDTH, **LAYOUTS["in turns"])), 2))
    ids = torch.randint(TOKENS, (2, 5), generator=generator)
    options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    for beams in (1, 3):
        with_cache, without = (lm.generate(ids, num_beams=beams, use_cache=use, **options) for use in (True, False))
        assert torch.equal(with_cache, without)
    lm.save_pretrained(tmp_path)
    torch.testing.assert_close(load(tmp_path).run(ids)[0], lm.run(ids)[0])


def test_what_is_trained(generator: torch.Generator) -> None:
    lm = moved(build(SequenceConfig(TOKENS, WIDTH, **LAYOUTS["in turns"])))
    four = with_perspectives(lm, 4).train()
    own = list(perspective_parameters(four))
    assert sum(p.numel() for p in own) == 2 * 4 * 5 * WIDTH + 4 * WIDTH  # five mu in each of two blocks, and W_c
    assert sum(p.numel() for p in perspective_parameters(lm)) == 2 * 5 * WIDTH
    ids = torch.randint(TOKENS, (2, 9), generator=generator)
    four(input_ids=ids, labels=ids).loss.backward()
    mu = own[0].grad
    assert mu is not None
    assert (mu[0] - mu[1]).abs().max() > 0  # streams are equal, their shares are not: so they part


@torch.no_grad()
def test_of_a_pretrained_model(generator: torch.Generator) -> None:
    theirs = RwkvForCausalLM(RwkvConfig(vocab_size=TOKENS, hidden_size=WIDTH, num_hidden_layers=2)).eval()
    ids = torch.randint(TOKENS, (2, 6), generator=generator)
    four = with_perspectives(SequenceLM.from_hf(theirs), 4).eval()
    torch.testing.assert_close(four.run(ids)[0], theirs(ids, use_cache=False).logits, rtol=1e-4, atol=1e-4)


def test_what_cannot_be() -> None:
    lm = build(SequenceConfig(TOKENS, WIDTH, layers=["rwkv4"], mlp_width=0))
    with pytest.raises(InputError, match="1 asked for, expected at least 2"):
        with_perspectives(lm, 1)
    with pytest.raises(InputError, match="the model has 2 perspectives"):
        with_perspectives(with_perspectives(lm, 2), 4)
    with pytest.raises(InputError, match="no layer has one of its own"):
        with_perspectives(build(SequenceConfig(TOKENS, WIDTH, layers=["attention"])), 2)
    with pytest.raises(InputError, match="perspectives is 0"):
        SequenceConfig(TOKENS, WIDTH, perspectives=0)
    with pytest.raises(InputError, match="give perspectives to the config"):
        build(SequenceConfig(TOKENS, WIDTH, layers=[{"name": "rwkv4", "views": 2}]))
