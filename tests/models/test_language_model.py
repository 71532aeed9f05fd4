import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from seqmem.errors import InputError
from seqmem.mixers.state import detach, tensors
from seqmem.models import SequenceConfig, SequenceLM, StateCache, build, parameter_count
from seqmem.models.cache import NAME
from tests.models.stacks import ATTENTION, AVERAGE, BUFFERED, STACKS, small

every_stack = pytest.mark.parametrize("layers", STACKS.values(), ids=STACKS)


@pytest.fixture
def ids(generator):
    return torch.randint(37, (3, 11), generator=generator)


def test_logits_are_the_equations(ids):
    """Written out with plain matrix products for one layer of each toy."""
    model = small([AVERAGE, ATTENTION], tie_embeddings=True).double()

    def norm(x):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    x = model.embed_tokens.weight[ids]
    for block in model.layers:
        x = x + block.mixer(norm(x))[0]
        h = norm(x)
        gate = h @ block.mlp.gate.weight.T
        x = x + (gate * gate.sigmoid() * (h @ block.mlp.up.weight.T)) @ block.mlp.down.weight.T
    logits, states = model.run(ids)
    torch.testing.assert_close(logits, norm(x) @ model.embed_tokens.weight.T)
    assert len(states) == 2


@every_stack
def test_run_in_pieces_is_run_at_once(layers, ids):
    model = small(layers).double()
    with torch.no_grad():
        whole, final = model.run(ids)
        first, states = model.run(ids[:, :4])
        second, states = model.run(ids[:, 4:5], states)
        third, states = model.run(ids[:, 5:], states)
    torch.testing.assert_close(torch.cat([first, second, third], 1), whole)
    for a, b in zip(tensors(states), tensors(final), strict=True):
        torch.testing.assert_close(a, b)


@every_stack
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_padding_resets_and_empty_rows(layers, dtype, bound, ids):
    model = small(layers).to(dtype)
    mask = torch.ones_like(ids).bool()
    mask[0, :5] = False
    mask[1] = False
    with torch.no_grad():
        logits = model(ids, attention_mask=mask.long()).logits
        alone, _ = model.run(ids[:1, 5:])
        reset = torch.zeros_like(mask)
        reset[:, 6] = True
        after_reset = model(ids, reset=reset).logits
        fresh, _ = model.run(ids[:, 6:])
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[:1, 5:], alone, atol=bound, rtol=bound)
    torch.testing.assert_close(after_reset[:, 6:], fresh, atol=bound, rtol=bound)


def test_forward_is_run_with_names(ids):
    model = small([AVERAGE, ATTENTION])
    logits, states = model.run(ids)
    out = model(ids, output_hidden_states=True)
    torch.testing.assert_close(out.logits, logits)
    assert isinstance(out.past_key_values, StateCache)
    assert out.past_key_values.get_seq_length() == 11
    assert len(out.hidden_states) == 3
    torch.testing.assert_close(model.lm_head(out.hidden_states[-1]), logits)
    torch.testing.assert_close(out.hidden_states[0], model.embed_tokens(ids))
    torch.testing.assert_close(model(inputs_embeds=model.embed_tokens(ids)).logits, logits)
    torch.testing.assert_close(model(ids, logits_to_keep=2).logits, logits[:, -2:])
    torch.testing.assert_close(model(ids, logits_to_keep=torch.tensor([0, 3])).logits, logits[:, [0, 3]])
    assert model(ids, use_cache=False).past_key_values is None
    as_tuple = model(ids, return_dict=False)
    torch.testing.assert_close(as_tuple[0], logits)
    cache = StateCache()
    model(ids[:, :4], past_key_values=cache)
    snapshot = cache.copy()
    torch.testing.assert_close(model(ids[:, 4:], past_key_values=cache).logits, logits[:, 4:])
    assert (cache.get_seq_length(), snapshot.get_seq_length()) == (11, 4)
    model(ids[:, 4:], past_key_values=snapshot, use_cache=False)
    assert snapshot.get_seq_length() == 4
    assert len(states) == len(cache.states)


def test_loss_is_the_shifted_cross_entropy(ids):
    model = small([AVERAGE])
    labels = ids.clone()
    labels[0, :6] = -100
    out = model(ids, labels=labels)
    log_p = out.logits.log_softmax(-1)
    asked = [-log_p[b, t - 1, labels[b, t]] for b in range(3) for t in range(1, 11) if labels[b, t] != -100]
    torch.testing.assert_close(out.loss, torch.stack(asked).mean())
    torch.testing.assert_close(model(ids, labels=labels, num_items_in_batch=7).loss, torch.stack(asked).sum() / 7)


def test_gradient_flows_through_states_until_detached(ids):
    model = small([AVERAGE, ATTENTION]).double()
    start = torch.zeros(3, 32, dtype=torch.float64, requires_grad=True)
    _, states = model.run(ids[:, :5], (start, None))
    logits, _ = model.run(ids[:, 5:], states)
    assert torch.autograd.grad(logits.sum(), start)[0].abs().sum() > 0
    logits, _ = model.run(ids[:, 5:], detach(states))
    assert torch.autograd.grad(logits.sum(), start, allow_unused=True)[0] is None


@pytest.mark.parametrize("name", ["toy hybrid", "hybrid"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(name, reentrant, ids):
    model = small(STACKS[name]).double().train()
    model(ids, labels=ids).loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    out = model(ids, labels=ids)
    assert out.past_key_values is None
    out.loss.backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name])


@every_stack
def test_a_mixer_keeps_its_own_initialisation(layers):
    """Each layer's mixer is, parameter by parameter, what its class builds from the same random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = SequenceLM(SequenceConfig(10, 32, layers=layers[:1], mlp_width=0))
        torch.manual_seed(11)
        torch.nn.Embedding(10, 32)  # what is built before the first layer
        mixer = type(model.layers[0].mixer)(32)
    expected = mixer.state_dict()
    for name, value in model.layers[0].mixer.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_initialisation_of_the_rest():
    model = build(SequenceConfig(5000, 256, [AVERAGE] * 8, initializer_range=0.03), seed=1)
    assert model.embed_tokens.weight.std().item() == pytest.approx(0.03, rel=0.02)
    mlp = model.layers[5].mlp
    assert mlp.gate.weight.std().item() == pytest.approx(256**-0.5, rel=0.02)
    assert mlp.up.weight.std().item() == pytest.approx(256**-0.5, rel=0.02)
    assert mlp.down.weight.std().item() == pytest.approx((688 * 16) ** -0.5, rel=0.02)
    assert (model.norm.weight == 1).all()
    untied = build(SequenceConfig(5000, 64, [AVERAGE], tie_embeddings=False), seed=1)
    assert untied.lm_head.weight.std().item() == pytest.approx(64**-0.5, rel=0.02)
    assert not torch.equal(untied.lm_head.weight, untied.embed_tokens.weight)


def test_build_depends_on_the_seed_alone():
    config = SequenceConfig(50, 16, [AVERAGE, BUFFERED])
    torch.manual_seed(0)
    before = torch.get_rng_state()
    a = build(config, 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    b, c = build(config, 5), build(config, 6)
    assert all(torch.equal(x, b.state_dict()[n]) for n, x in a.state_dict().items())
    assert not torch.equal(a.embed_tokens.weight, c.embed_tokens.weight)
    d, e = (build(config, torch.Generator().manual_seed(9)) for _ in range(2))
    assert torch.equal(d.embed_tokens.weight, e.embed_tokens.weight)


@every_stack
@pytest.mark.parametrize("options", [{}, {"tie_embeddings": False, "mlp_width": 0}])
def test_parameter_count_is_exact(layers, options):
    config = SequenceConfig(37, 32, layers, **options)
    before = torch.get_rng_state()
    count = parameter_count(config)
    assert torch.equal(torch.get_rng_state(), before)
    model = SequenceLM(config)
    assert count == sum(p.numel() for p in model.parameters()) == model.num_parameters()


def test_tied_and_resized_vocabulary():
    model = small([AVERAGE], tie_embeddings=True)
    assert model.lm_head.weight is model.embed_tokens.weight
    old = model.embed_tokens.weight.detach().clone()
    model.resize_token_embeddings(45)
    assert model.lm_head.weight is model.embed_tokens.weight
    assert model.config.vocab_size == 45
    assert torch.equal(model.embed_tokens.weight[:37], old)
    assert model.run(torch.tensor([[44]]))[0].shape == (1, 1, 45)
    untied = small([AVERAGE])
    untied.resize_token_embeddings(45, mean_resizing=False)
    assert untied.lm_head.weight.shape == (45, 32)
    assert untied.lm_head.weight[37:].std().item() == pytest.approx(0.5, rel=0.2)


def test_auto_class_and_deepcopy(ids):
    model = AutoModelForCausalLM.from_config(SequenceConfig(37, 32, [AVERAGE]))
    assert isinstance(model, SequenceLM)
    torch.testing.assert_close(copy.deepcopy(model).run(ids)[0], model.run(ids)[0])


def test_constants_are_computed_in_full_precision():
    full = SequenceLM(SequenceConfig(37, 32, [BUFFERED])).layers[0].mixer
    half = AutoModelForCausalLM.from_config(SequenceConfig(37, 32, [BUFFERED]), dtype=torch.bfloat16).layers[0].mixer
    assert half.angles.dtype == torch.bfloat16
    assert torch.equal(half.angles, full.angles.bfloat16())
    assert half.constant.dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m(), "exactly one"),
        (lambda m: m(torch.tensor([[1]]), inputs_embeds=torch.zeros(1, 1, 32)), "exactly one"),
        (lambda m: m(torch.tensor([[1, 2]]), attention_mask=torch.ones(1, 1)), "attention_mask has shape"),
        (lambda m: m(torch.tensor([[1, 2]]), attention_mask=torch.ones(1, 1, 2, 2)), "attention_mask has shape"),
        (lambda m: m(torch.tensor([[1, 2]]), past_key_values=((1, 2),)), "expected a seqmem.models.StateCache"),
        (lambda m: m(torch.tensor([[1, 2]]), labels=torch.tensor([[1, 2]]), logits_to_keep=1), "logits_to_keep"),
        (lambda m: m(torch.tensor([[1, 2]]), output_attentions=True), "attention"),
        (lambda m: m(torch.zeros(1, 0).long()), "time >= 1"),
        (lambda m: m.run(torch.tensor([1, 2])), "time >= 1"),
        (lambda m: m.run(torch.tensor([[1]]), states=(None, None)), "expected one for each of the 1 layers"),
    ],
)
def test_bad_calls_are_named_in_one_line(call, words):
    with pytest.raises(InputError, match=words) as error:
        call(small([AVERAGE]))
    assert "\n" not in str(error.value)


def test_learns_to_copy_the_previous_token(generator):
    """A few steps of plain training: the loss falls below what any guess without memory can reach."""
    model = build(SequenceConfig(8, 32, [AVERAGE, ATTENTION]), seed=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        ids = torch.randint(8, (16, 8), generator=generator)
        logits, _ = model.run(ids)
        loss = F.cross_entropy(logits[:, 1:].flatten(0, 1), ids[:, :-1].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * torch.tensor(8.0).log().item()


def test_the_cache_goes_by_both_of_its_names() -> None:
    model = build(SequenceConfig(vocab_size=9, width=8, layers=["gru"]))
    tokens = torch.tensor([[1, 2, 3, 4]])
    whole = model(tokens).logits
    for name in ("past_key_values", "cache"):
        cache = StateCache()
        first = model(tokens[:, :2], **{name: cache})
        assert first[NAME] is cache
        assert first.past_key_values is cache
        torch.testing.assert_close(model(tokens[:, 2:], **{name: cache}).logits, whole[:, 2:])
    with pytest.raises(InputError, match="two names"):
        model(tokens, cache=StateCache(), past_key_values=StateCache())
    with pytest.raises(InputError, match="cache is a dict, expected"):
        model(tokens, cache={})
