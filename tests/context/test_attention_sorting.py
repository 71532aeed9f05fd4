"""Documents sorted by attention: the attention against whole matrices, and a model whose attention is known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from seqmem.context import document_attention, prompts_of, sort_by_attention, sort_documents
from seqmem.errors import InputError
from seqmem.interp import attention_of
from seqmem.models.cache import NAME
from tests.interp.families import make

TOKENS = torch.randint(40, (2, 14), generator=torch.Generator().manual_seed(0))
OWNER = torch.tensor([[-1, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, -1, -1, -1], [-1, 2, 2, 2, 2, 2, 0, 0, 0, 1, 1, -1, -1, -1]])


def sums(rows: Tensor) -> Tensor:
    """(batch, documents): a loop over what the last row of weights (batch, time) gives to each."""
    pairs = zip(rows, OWNER, strict=True)
    return torch.stack([torch.stack([row[own == d].sum() for d in range(3)]) for row, own in pairs])


@pytest.mark.parametrize("name", ["gpt2", "llama", "mamba2", "rwkv", "retention", "delta_net", "attention"])
def test_it_is_the_last_row_of_the_matrices(name: str) -> None:
    model = make(name)
    rows = [a[:, :, -1].abs() for a in attention_of(model, TOKENS).values()]
    for layers in (None, [1]):
        chosen = rows if layers is None else [rows[i] for i in layers]
        expected = torch.stack([(a / a.sum(-1, keepdim=True)).mean(1) for a in chosen]).mean(0)
        found = document_attention(model, TOKENS, OWNER, layers=layers)
        torch.testing.assert_close(found.scores, sums(expected), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.logits, model(TOKENS).logits[:, -1], rtol=1e-4, atol=1e-5)


SIZES: dict[str, Any] = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
OTHERS: dict[str, Callable[[], Any]] = {
    "bloom": lambda: hf.BloomForCausalLM(hf.BloomConfig(vocab_size=40, hidden_size=16, n_layer=2, n_head=4)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**SIZES, num_key_value_heads=2, intermediate_size=24)),
    "gpt_neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SIZES, intermediate_size=24)),
}


@pytest.mark.parametrize("family", OTHERS)
def test_other_families_of_transformers_return_their_weights(family: str) -> None:
    """Nothing in the library knows these families; their own whole matrices, in one call, are the reference."""
    torch.manual_seed(0)
    model = OTHERS[family]().eval()
    before = model.config._attn_implementation
    found = document_attention(model, TOKENS, OWNER)
    assert model.config._attn_implementation == before
    model.set_attn_implementation("eager")
    whole = torch.stack(model(TOKENS, output_attentions=True).attentions)  # (layer, batch, heads, time, time)
    torch.testing.assert_close(found.scores, sums(whole[:, :, :, -1].mean((0, 2))), rtol=1e-4, atol=1e-5)


class Pointer(torch.nn.Module):
    """A causal LM of one layer and head whose attention is known: a token t weighs w(t) g^(position), w = 3 for the
    word that the question asks for; it recalls the last question only."""

    def __init__(self, likes: int, recency: float) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="pointer", is_encoder_decoder=False)
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.likes, self.recency = likes, recency

    def can_generate(self) -> bool:
        return True

    def forward(self, ids: Tensor, **options: Any) -> Any:
        seen = torch.cat([*([options[NAME]] if NAME in options else []), ids], 1)  # the cache is the text itself
        weight = (1 + 2.0 * (seen == self.likes)) * self.recency ** torch.arange(seen.shape[1])
        attention = (weight / weight.sum(-1, keepdim=True))[:, None, None]
        return hf.modeling_outputs.CausalLMOutputWithPast(
            logits=torch.nn.functional.one_hot(seen, 20).float(), attentions=(attention,), **{NAME: seen}
        )


def documents(batch: int = 1, count: int = 8) -> Tensor:
    """The tokens 0 to 7, one for each document, each followed by 19."""
    return torch.stack([torch.arange(count), torch.full((count,), 19)], 1).expand(batch, -1, -1)


@pytest.mark.parametrize("gold", [0, 3, 7])
def test_what_is_liked_comes_last_round_by_round(gold: int) -> None:
    """Places differ by 1.3^2 = 1.69, the liked document by (3 + 1.3) / (1 + 1.3) = 1.87: one place is gained in each
    round, and the others keep their order."""
    question = torch.tensor([[18, 18]])
    found = sort_documents(Pointer(gold, 1.3), documents(), question, rounds=4)
    places = [int((order[0] == gold).nonzero()) for order in found.orders]
    assert places == [min(7, gold + r) for r in range(5)]
    for order in found.orders:
        assert order[0][order[0] != gold].tolist() == [d for d in range(8) if d != gold]
    assert found.scores.shape == (4, 1, 8)


def test_without_a_liked_document_nothing_moves() -> None:
    found = sort_documents(Pointer(-5, 1.3), documents(3), torch.full((3, 1), 18), torch.full((3, 2), 17))
    assert torch.equal(found.orders, torch.arange(8).expand(3, 3, 8))


def test_prompts_say_whose_a_token_is() -> None:
    given = torch.tensor([[[1, 2, -1], [3, -1, -1], [4, 5, 6]]])
    tokens, owner = prompts_of(given, torch.tensor([[2, 0, 1]]), torch.tensor([[9]]), torch.tensor([[8, 8]]))
    assert tokens.tolist() == [[8, 8, 4, 5, 6, 1, 2, 3, 9]]
    assert owner.tolist() == [[-1, -1, 2, 2, 2, 0, 0, 1, -1]]
    tokens, owner = prompts_of(given, torch.tensor([[0]]), torch.tensor([[9]]))
    assert (tokens.tolist(), owner.tolist()) == ([[1, 2, 9]], [[0, 0, -1]])
    two = given.repeat(2, 1, 1)
    two[1, 0, 1] = -1
    with pytest.raises(InputError, match="prompts of different lengths"):
        prompts_of(two, torch.tensor([[0], [0]]), torch.tensor([[9], [9]]))


class Letters:
    """A token is a letter; <b> (0) opens a text, <e> (1) ends it, as some tokenizers have it."""

    bos_token_id, eos_token_id = 0, 1

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids = [ord(c) % 32 + 2 for c in text]
        return {"input_ids": [0, *ids, 1] if add_special_tokens else ids}


def test_texts_are_put_in_the_same_order(generator: torch.Generator) -> None:
    model = make("llama")
    texts = ["a fox\n", "the old house\n", "my\n", "twenty birds\n"]
    found = sort_by_attention(model, Letters(), texts, "who?", header="Read:\n", rounds=2)
    assert found.prompt == "Read:\n" + "".join(texts[i] for i in found.order) + "who?"
    assert found.ids[0].tolist() == Letters()(found.prompt)["input_ids"][:-1]
    assert sorted(found.order) == [0, 1, 2, 3]
    first = sort_by_attention(model, Letters(), texts, "who?", header="Read:\n", rounds=1)
    assert first.scores[0] == pytest.approx(found.scores[0])
    assert first.order == sorted(range(4), key=lambda i: first.scores[0][i])
    again = [texts[i] for i in first.order]
    second = sort_by_attention(model, Letters(), again, "who?", header="Read:\n", rounds=1)
    assert [first.order[i] for i in second.order] == found.order
    kept = sort_by_attention(model, Letters(), texts, "who?", header="Read:\n", rounds=2, keep=2)
    assert kept.order == found.order[-2:]
    assert kept.prompt == "Read:\n" + "".join(texts[i] for i in kept.order) + "who?"
    still = sort_by_attention(model, Letters(), texts, "who?", rounds=0)
    assert (still.order, still.scores, int(still.ids[0, 0])) == ([0, 1, 2, 3], [], 0)


def test_bad_input_says_so() -> None:
    model = make("llama")
    for arguments, options, says in (
        (([], "q"), {}, "documents is \\[\\], expected a list with at least one text"),
        (("abc", "q"), {}, "expected a list with at least one text"),
        ((["a", ""], "q"), {}, "documents \\[1\\] have no token"),
        ((["a"], ""), {}, "the question '' has no token"),
        ((["a", "b"], "q"), {"keep": 3}, "keep is 3, expected a whole number from 1 to 2"),
        ((["a", "b"], "q"), {"rounds": -1}, "rounds is -1, expected a whole number, 0 or more"),
        ((["a", "b"], "q"), {"layers": [7]}, "the model has layers 0 to 1"),
    ):
        with pytest.raises(InputError, match=says):
            sort_by_attention(model, Letters(), *arguments, **options)  # type: ignore[misc]
    with pytest.raises(InputError, match="expected \\(batch, time >= 2\\) both"):
        document_attention(model, TOKENS, OWNER[:, 1:])
    with pytest.raises(InputError, match="owner has values from -2"):
        document_attention(model, TOKENS, OWNER - 1)


def test_a_model_without_weights_says_so() -> None:
    with pytest.raises(InputError, match="has no exact attention matrix"):
        document_attention(make("gru"), TOKENS, OWNER)
    config = hf.FalconMambaConfig(vocab_size=40, hidden_size=8, state_size=4, num_hidden_layers=1)
    with pytest.raises(InputError, match=r"FalconMambaForCausalLM (keeps no cache|returns no attention weights)"):
        document_attention(hf.FalconMambaForCausalLM(config).eval(), TOKENS, OWNER)
    t5 = hf.T5ForConditionalGeneration(hf.T5Config(vocab_size=40, d_model=8, d_ff=8, num_layers=1, num_heads=2, d_kv=4))
    with pytest.raises(InputError, match="is no causal language model"):
        document_attention(t5.eval(), TOKENS, OWNER)
