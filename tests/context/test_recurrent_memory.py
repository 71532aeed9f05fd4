"""Recurrent memory against a slow loop that reads one row at a time with the backbone's own parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from seqmem.context import RecurrentMemory
from seqmem.errors import InputError
from seqmem.models import SequenceConfig, SequenceLM

VOCAB, WIDTH, SEGMENT, TOKENS = 20, 16, 5, 3


def gpt2(**options: Any) -> GPT2LMHeadModel:
    config = GPT2Config(vocab_size=VOCAB, n_embd=WIDTH, n_head=2, n_layer=2, n_positions=24, **options)
    return GPT2LMHeadModel(config)


def llama() -> LlamaForCausalLM:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 24}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, hidden_size=WIDTH, **sizes))


def ours() -> SequenceLM:
    return SequenceLM(SequenceConfig(vocab_size=VOCAB, width=WIDTH, layers=["min_gru", "attention"]))


def mamba() -> MambaForCausalLM:
    return MambaForCausalLM(MambaConfig(vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=1, state_size=4))


def wrap(make: Any, tokens: int = TOKENS, **options: Any) -> RecurrentMemory:
    torch.manual_seed(0)
    model = make().double().eval()
    with torch.no_grad():  # away from the tiny values at which everything is nearly linear
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return RecurrentMemory(model, SEGMENT, tokens, generator=torch.Generator().manual_seed(1), **options)


def ids_of(batch: int, time: int) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(2))


def slow(wrapped: RecurrentMemory, ids: torch.Tensor, cut: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (time, vocabulary) and last memory of one row, token by token in Python, from GPT-2's or Llama's parts."""
    model: Any = wrapped.model
    inside = model.base_model
    table = model.get_input_embeddings().weight
    memory, logits = [wrapped.memory[i] for i in range(wrapped.tokens)], []
    for s, start in enumerate(range(0, len(ids), wrapped.segment)):
        if s in cut:
            memory = [vector.detach() for vector in memory]
        words = [table[int(i)] for i in ids[start : start + wrapped.segment]]
        hidden = inside(inputs_embeds=torch.stack([*memory, *words, *memory])[None]).last_hidden_state[0]
        first, last = wrapped.tokens, wrapped.tokens + len(words)
        logits += [model.lm_head(hidden[t]) for t in range(first, last)]
        memory = [hidden[t] for t in range(last, last + wrapped.tokens)]
    return torch.stack(logits), torch.stack(memory)


@pytest.mark.parametrize("make", [gpt2, llama])
@pytest.mark.parametrize("time", [3, 5, 17])
def test_it_is_the_slow_loop(make, time) -> None:
    wrapped, ids = wrap(make), ids_of(3, time)
    out = wrapped(ids, labels=ids)
    for row in range(3):
        logits, memory = slow(wrapped, ids[row])
        torch.testing.assert_close(out.logits[row], logits, rtol=0, atol=1e-12)
        torch.testing.assert_close(out.memory[row], memory, rtol=0, atol=1e-12)
    shifted = F.cross_entropy(out.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(out.loss, shifted.to(out.loss.dtype), rtol=1e-6, atol=0)  # transformers takes float32
    last = (time - 1) // SEGMENT * SEGMENT
    torch.testing.assert_close(wrapped(ids, only_last=True).logits, out.logits[:, last:], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("bptt", "cut"), [(None, ()), (0, (1, 2, 3)), (1, (2,)), (2, (1,)), (3, ()), (9, ())])
def test_gradients_are_those_of_one_graph_cut_where_it_says(bptt, cut) -> None:
    """Four segments: every (bptt + 1)-th boundary, counted from the last segment, is cut."""
    wrapped, ids = wrap(gpt2, bptt=bptt), ids_of(1, 4 * SEGMENT)
    weights = torch.randn(4 * SEGMENT, VOCAB, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    parameters = list(wrapped.parameters())
    ours_ = torch.autograd.grad((weights * wrapped(ids).logits[0]).sum(), parameters)
    theirs = torch.autograd.grad((weights * slow(wrapped, ids[0], cut)[0]).sum(), parameters)
    for a, b in zip(ours_, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("bptt", [0, 1, 2, None])
def test_the_last_segment_reaches_back_as_far_as_it_says(bptt) -> None:
    wrapped, ids = wrap(gpt2, bptt=bptt), ids_of(1, 4 * SEGMENT)
    ids = torch.arange(4).repeat_interleave(SEGMENT)[None]  # segment s is made of token s
    untied = torch.nn.Linear(WIDTH, VOCAB).double()
    wrapped.model.lm_head = untied
    wrapped(ids, only_last=True).logits.square().sum().backward()
    reached = [float(wrapped.model.transformer.wte.weight.grad[s].abs().max()) > 0 for s in range(4)]
    assert reached == [3 - s <= (3 if bptt is None else bptt) for s in range(4)]


@pytest.mark.parametrize("make", [gpt2, llama, ours])
@pytest.mark.parametrize("attention", ["causal", "mutual"])
def test_padding_changes_nothing(make, attention) -> None:
    if (make, attention) == (ours, "mutual"):
        pytest.skip("takes no mask of four dimensions")
    wrapped, ids = wrap(make, attention=attention), ids_of(3, 13)
    mask = (torch.arange(13) < torch.tensor([13, 4, 7])[:, None]).long()
    out = wrapped(ids, mask)
    assert out.logits.isfinite().all()
    for row, length in enumerate((13, 4, 7)):
        alone = wrapped(ids[row, None, :length])
        torch.testing.assert_close(out.logits[row, :length], alone.logits[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(out.memory[row], alone.memory[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("make", [gpt2, llama, ours, mamba])
def test_reading_on_is_reading_at_once(make) -> None:
    wrapped, ids = wrap(make), ids_of(2, 13)
    whole = wrapped(ids)
    begun = wrapped(ids[:, : 2 * SEGMENT])
    rest = wrapped(ids[:, 2 * SEGMENT :], memory=begun.memory)
    torch.testing.assert_close(torch.cat([begun.logits, rest.logits], 1), whole.logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(rest.memory, whole.memory, rtol=0, atol=1e-12)
    changed = ids.clone()
    changed[:, 0] = (changed[:, 0] + 1) % VOCAB  # what was read first is seen two segments later, through memory alone
    assert (wrapped(changed).logits[:, 10:] - whole.logits[:, 10:]).abs().max() > 1e-6
    again = wrapped(changed[:, 10:], memory=wrapped(ids[:, :10]).memory)
    torch.testing.assert_close(again.logits, whole.logits[:, 10:], rtol=0, atol=1e-12)


def test_without_memory_segments_are_read_by_themselves() -> None:
    wrapped, ids = wrap(gpt2, tokens=0), ids_of(2, 13)
    alone = torch.cat([wrapped.model(piece).logits for piece in ids.split(SEGMENT, 1)], 1)
    torch.testing.assert_close(wrapped(ids).logits, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [gpt2, llama])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_mutual_attention_is_full_within_a_copy_and_nowhere_else(make, implementation) -> None:
    wrapped = wrap(make, attention="mutual")
    wrapped.model.set_attn_implementation(implementation)
    m, n = TOKENS, TOKENS + SEGMENT
    x = torch.randn(1, n + m, WIDTH, dtype=torch.float64, requires_grad=True)
    hidden = wrapped._run(x, wrapped._mask(None, x, n))[1][0]
    gradients = [torch.autograd.grad(h.square().sum(), x, retain_graph=True)[0][0] for h in hidden]
    sees = torch.stack(gradients).abs().sum(-1)  # (query, key)
    expected = torch.ones(n + m, n + m).tril().bool()
    expected[:m, :m] = expected[n:, n:] = True
    assert torch.equal(sees > 0, expected)


@pytest.mark.parametrize("make", [gpt2, llama, ours, mamba])
@pytest.mark.parametrize("prompt", [2, 5, 8])
@pytest.mark.parametrize(("tokens", "attention"), [(TOKENS, "causal"), (TOKENS, "mutual"), (0, "causal")])
def test_generate_is_reading_everything_again_for_every_token(make, prompt, tokens, attention) -> None:
    if make in (ours, mamba) and attention == "mutual":
        pytest.skip("takes no mask of four dimensions")
    wrapped, text = wrap(make, tokens=tokens, attention=attention), ids_of(2, prompt)
    told = wrapped.generate(text, 12)
    with torch.no_grad():
        for _ in range(12):
            text = torch.cat([text, wrapped(text).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(told, text)


def test_generate_samples_processes_and_ends() -> None:
    wrapped, text = wrap(gpt2), ids_of(4, 3)

    def only(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # tokens 1 and 2, and 2 from length 20 on
        allowed = torch.full_like(scores, -torch.inf)
        return allowed.index_fill(1, torch.tensor([2] if ids.shape[1] >= 20 else [1, 2]), 0.0)

    options: dict[str, Any] = {"do_sample": True, "logits_processor": [only], "eos_token_id": 2, "pad_token_id": 0}
    a, b = (wrapped.generate(text, 40, generator=torch.Generator().manual_seed(5), **options) for _ in range(2))
    assert torch.equal(a, b)
    for row in a[:, 3:].tolist():
        end = row.index(2)
        assert set(row[:end]) <= {1}
        assert set(row[end + 1 :]) <= {0}
    assert a.shape[1] <= 21


def test_only_the_memory_learns_in_a_frozen_model() -> None:
    wrapped, ids = wrap(gpt2), ids_of(2, 12)
    wrapped.model.requires_grad_(False)
    wrapped(ids, labels=ids).loss.backward()
    assert [name for name, p in wrapped.named_parameters() if p.grad is not None] == ["memory"]
    assert wrapped.memory.grad is not None
    assert wrapped.memory.grad.abs().min() > 0


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    wrapped, ids = wrap(gpt2), ids_of(2, 12)
    wrapped.train()
    for module in wrapped.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    plain = torch.autograd.grad(wrapped(ids).logits.square().sum(), list(wrapped.parameters()))
    wrapped.model.gradient_checkpointing_enable()
    saved = torch.autograd.grad(wrapped(ids).logits.square().sum(), list(wrapped.parameters()))
    for a, b in zip(plain, saved, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_save_and_load(tmp_path) -> None:
    wrapped, ids = wrap(gpt2, bptt=2), ids_of(2, 12)
    wrapped.save_pretrained(tmp_path)
    again = RecurrentMemory.from_pretrained(tmp_path).double().eval()
    assert (again.segment, again.tokens, again.bptt, again.attention) == (SEGMENT, TOKENS, 2, "causal")
    torch.testing.assert_close(again(ids).logits, wrapped(ids).logits, rtol=1e-5, atol=1e-5)
    assert RecurrentMemory.from_pretrained(tmp_path, segment=7).segment == 7
    with pytest.raises(InputError, match="leave tokens out"):
        RecurrentMemory.from_pretrained(tmp_path, tokens=4)
    with pytest.raises(InputError, match="give a folder"):
        RecurrentMemory.from_pretrained(tmp_path / "nowhere")


class _IdsAlone(GPT2LMHeadModel):
    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().forward(input_ids, **kwargs)


def t5() -> T5ForConditionalGeneration:
    return T5ForConditionalGeneration(T5Config(vocab_size=VOCAB, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (lambda: GPT2Model(gpt2().config), {}, "GPT2Model is a backbone without a head"),
        (lambda: _IdsAlone(gpt2().config), {}, "_IdsAlone takes token ids alone, not inputs_embeds; choose a family"),
        (t5, {}, "is an encoder-decoder; give a causal language model"),
        (lambda: torch.nn.Linear(2, 2), {}, "Linear is not a transformers model"),
        (lambda: "gpt2", {}, "str is not a transformers model"),
        (gpt2, {"segment": 20}, "has 24 positions, 26 are needed; take shorter segments"),
        (gpt2, {"segment": 0}, "segment is 0, expected a whole number, 1 or more"),
        (gpt2, {"segment": True}, "segment is True"),
        (gpt2, {"tokens": -1}, "tokens is -1"),
        (gpt2, {"bptt": 0.5}, "bptt is 0.5"),
        (ours, {"attention": "mutual"}, "SequenceLM does not obey a mask of four dimensions"),
        (mamba, {"attention": "mutual"}, "take attention='causal'"),
        (gpt2, {"attention": "full"}, "attention is 'full', expected 'causal' or 'mutual'"),
    ],
)
def test_what_cannot_be_wrapped_says_so(make, options, says) -> None:
    with pytest.raises(InputError) as error:
        RecurrentMemory(make(), **{"segment": 5, "tokens": 3, **options})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_calls_say_so() -> None:
    wrapped, ids = wrap(gpt2), ids_of(2, 6)
    for arguments, says in (
        ({"input_ids": ids[0]}, r"input_ids is \(6,\), expected \(batch, time >= 1\)"),
        ({"input_ids": ids, "labels": ids[:, 1:]}, r"labels is \(2, 5\), expected \(2, 6\)"),
        ({"input_ids": ids, "memory": wrapped.memory}, r"memory is \(3, 16\), expected \(2, 3, 16\)"),
        ({"input_ids": ids, "attention_mask": torch.tensor([[0] + [1] * 5] * 2)}, "pad texts on the right"),
        ({"input_ids": ids, "labels": ids, "only_last": True}, "leave only_last out"),
    ):
        with pytest.raises(InputError, match=says):
            wrapped(**arguments)
    with pytest.raises(InputError, match="max_new_tokens is 0"):
        wrapped.generate(ids, 0)
