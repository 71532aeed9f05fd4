"""``SequenceLM.from_hf``: the same logits as the original, and everything that a SequenceLM can do."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from seqmem.errors import InputError
from seqmem.interp import ablate_heads, attention_of, record, score_heads
from seqmem.models import SequenceLM, load, parameter_count
from tests.models.from_hf.families import (
    CASES,
    VOCABULARY,
    gpt2,
    llama,
    mamba,
    mamba2,
    qwen3_next,
    randomised,
    recurrent_gemma,
    rwkv,
    xlstm,
)

every_case = pytest.mark.parametrize("case", CASES)


def pair(case):
    torch.manual_seed(0)
    original = randomised(CASES[case]())
    return original, SequenceLM.from_hf(original)


def draw(rows=2, time=19, seed=0):
    return torch.randint(3, VOCABULARY, (rows, time), generator=torch.Generator().manual_seed(seed))


@every_case
@torch.no_grad()
def test_logits_are_the_originals(case):
    original, ours = pair(case)
    ids = draw()
    expected = original(ids, use_cache=False).logits
    assert expected.std() > 0.1  # the weights say something
    torch.testing.assert_close(ours(ids).logits, expected, atol=1e-5, rtol=1e-5)


@every_case
@torch.no_grad()
def test_single_steps_and_pieces_are_the_whole(case):
    _, ours = pair(case)
    ids = draw()
    whole, _ = ours.run(ids)
    steps, states = [], None
    for t in range(ids.shape[1]):
        logits, states = ours.run(ids[:, t : t + 1], states)
        steps.append(logits)
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-4, rtol=1e-4)
    first, states = ours.run(ids[:, :7])
    second, _ = ours.run(ids[:, 7:], states)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, atol=1e-4, rtol=1e-4)


@every_case
@torch.no_grad()
def test_it_is_saved_and_loaded(case, tmp_path):
    _, ours = pair(case)
    assert parameter_count(ours.config) == sum(p.numel() for p in ours.parameters())
    ours.save_pretrained(tmp_path)
    ids = draw()
    expected = ours.run(ids)[0]
    for again in (load(tmp_path), hf.AutoModelForCausalLM.from_pretrained(tmp_path)):
        torch.testing.assert_close(again.run(ids)[0], expected)


@every_case
@torch.no_grad()
def test_padding_and_resets(case):
    _, ours = pair(case)
    ids = draw()
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    torch.testing.assert_close(
        ours(ids, attention_mask=mask).logits[:1, 5:], ours.run(ids[:1, 5:])[0], atol=1e-4, rtol=1e-4
    )
    reset = torch.zeros_like(ids).bool()
    reset[:, 6] = True
    torch.testing.assert_close(ours(ids, reset=reset).logits[:, 6:], ours.run(ids[:, 6:])[0], atol=1e-4, rtol=1e-4)


@every_case
@torch.no_grad()
def test_the_instruments_work_on_it(case):
    _, ours = pair(case)
    ids = draw(1, 12)
    found = attention_of(ours, ids)
    assert list(found) == list(range(len(ours.layers)))
    for weights in found.values():
        assert weights.isfinite().all()
        assert weights.triu(1).abs().max() == 0
    with record(ours, "layers.*.heads.out") as trace:
        plain = ours.run(ids)[0]
    heads = trace["layers.0.heads.out"].shape[2]
    assert found[0].shape[1] == heads
    with ablate_heads(ours, {0: range(heads)}):
        assert (ours.run(ids)[0] - plain).abs().max() > 1e-3
    assert len(score_heads(ours, "induction", length=8, batch_size=1)) == sum(w.shape[1] for w in found.values())


@torch.no_grad()
def test_generation_goes_on_as_the_original():
    original = randomised(llama())
    ours = SequenceLM.from_hf(original)
    given = {"max_new_tokens": 8, "do_sample": False}
    assert torch.equal(ours.generate(draw(), **given), original.generate(draw(), **given))
    assert (ours.config.bos_token_id, ours.config.eos_token_id, ours.config.pad_token_id) == (1, 2, 0)


def test_nothing_is_shared_and_the_dtype_is_kept():
    original = randomised(llama()).bfloat16()
    ours = SequenceLM.from_hf(original)
    assert ours.dtype == torch.bfloat16
    pointers = {p.data_ptr() for p in original.parameters()}
    assert not any(p.data_ptr() in pointers for p in ours.parameters())


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: llama(hidden_act="mish"), ["'llama'", "hidden_act = 'mish'"]),
        (lambda: llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 9.0, "factor": 2.0}), ["dynamic"]),
        (lambda: gpt2(add_cross_attention=True), ["'gpt2'", "add_cross_attention", "one text"]),
        (lambda: mamba(hidden_act="gelu"), ["'mamba'", "hidden_act = 'gelu'"]),
        (lambda: mamba2(hidden_act="gelu"), ["'mamba2'", "hidden_act = 'gelu'"]),
        (lambda: rwkv(attention_hidden_size=24), ["'rwkv'", "attention_hidden_size = 24"]),
        (lambda: recurrent_gemma(hidden_activation="relu"), ["'recurrent_gemma'", "hidden_activation = 'relu'"]),
        (
            lambda: qwen3_next(num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8),
            ["'qwen3_next'", "num_experts = 2", "mlp_only_layers"],
        ),
        (lambda: xlstm(qk_dim_factor=0.5), ["'xlstm'", "qk_dim_factor = 0.5"]),
        (lambda: xlstm(use_bias=True), ["'xlstm'", "use_bias = True"]),
        (lambda: llama().model, ["LlamaModel", "no language-model head"]),
        (lambda: "gpt2", ["given a str", "from_pretrained"]),
        (lambda: SequenceLM.from_hf(llama()), ["already"]),
        (
            lambda: hf.OPTForCausalLM(
                hf.OPTConfig(
                    vocab_size=20, hidden_size=8, ffn_dim=8, num_hidden_layers=1, num_attention_heads=2,
                    word_embed_proj_dim=8,
                )
            ),
            ["family 'opt'", "llama"],
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_named(model, words):
    with pytest.raises(InputError) as error:
        SequenceLM.from_hf(model())
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_that_is_not_its_config_is_refused():
    from seqmem.interp import remove_heads

    with pytest.raises(InputError, match="pruned"):
        SequenceLM.from_hf(remove_heads(llama(), {0: [0, 1]}))
    wrapped = torch.nn.Module()
    wrapped.model, wrapped.lm_head = llama(), torch.nn.Linear(1, 1)  # as adapters wrap a model
    wrapped.config = wrapped.model.config
    with pytest.raises(InputError, match=r"'llama'.*rotary_emb.*merged"):
        SequenceLM.from_hf(wrapped)
    whole = llama()
    whole.model.layers[0].mlp.down_proj.weight = torch.nn.Parameter(torch.zeros(16, 24).char(), requires_grad=False)
    with pytest.raises(InputError, match="int8; give the model before quantisation"):
        SequenceLM.from_hf(whole)


@torch.no_grad()
def test_learned_positions_end():
    ours = SequenceLM.from_hf(randomised(gpt2()))  # 24 positions
    logits, states = ours.run(draw(time=24))
    assert logits.isfinite().all()
    with pytest.raises(InputError, match="position 24, and the model has learned positions 0 to 23"):
        ours.run(draw(time=1), states)


@torch.no_grad()
def test_rwkv_is_the_same_before_and_after_transformers_rescales_it():
    original = randomised(rwkv(rescale_every=1))
    first = SequenceLM.from_hf(original)
    expected = original(draw(), use_cache=False).logits  # halves weights in place
    assert original.rwkv.layers_are_rescaled
    for ours in (first, SequenceLM.from_hf(original)):
        torch.testing.assert_close(ours(draw()).logits, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_real_one():
    """SmolLM2, where it is in the cache: the same logits and the same words."""
    from seqmem.assets import find, is_here, language_model

    if not is_here(find("smollm2")):
        pytest.skip("smollm2 is not in the cache; `seqmem assets fetch smollm2` gets it")
    original, tokenizer = language_model("smollm2")
    ours = SequenceLM.from_hf(original)
    ids = tokenizer("The old man and the sea were", return_tensors="pt").input_ids
    torch.testing.assert_close(ours(ids).logits, original(ids).logits, atol=1e-3, rtol=1e-4)
    given = {"max_new_tokens": 6, "do_sample": False}
    assert torch.equal(ours.generate(ids, **given), original.generate(ids, **given))
