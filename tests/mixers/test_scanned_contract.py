"""The contract of a mixer, for the layers that are a linear recurrence. The oracle is the layer itself, one row and one
position at a time; what a single step computes is checked against other implementations in the files beside this one.
"""

import copy

import pytest
import torch
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers import get_mixer
from seqmem.mixers.state import State, detach, map_state, select, state_bytes, tensors
from tests.mixers.some import some

WIDTH, BATCH, TIME = 16, 3, 11
SCANNED = (
    "min_gru", "min_lstm", "rg_lru", "mamba", "linear_attention", "retention", "delta_net", "gated_delta_net", "gla",
    "mamba2", "hgrn2", "mlstm", "rwkv4", "rwkv6", "rwkv7",
)  # fmt: skip
NAMES = [some(name) for name in SCANNED]
HALF_PRECISION = {"gla": 0.15}  # its norm over the 4 channels of a head enlarges what rounding leaves
FORMS = [some(name, form) for name in SCANNED for form in ("auto", *get_mixer(name).forms)]  # type: ignore[arg-type]


def build(name: str, dtype: torch.dtype = torch.float64, seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    mixer = get_mixer(name)(WIDTH, **options)
    with torch.no_grad():  # away from special starting values (zero biases, D = 1, slow time steps)
        for parameter in mixer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return mixer.to(dtype)


def random_input(time: int = TIME, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(BATCH, time, WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def flags(time: int, share: float, seed: int) -> Tensor:
    return torch.rand(BATCH, time, generator=torch.Generator().manual_seed(seed)) < share


def used_state(mixer: nn.Module, dtype: torch.dtype = torch.float64) -> State:
    """What the layer remembers after five positions; rows differ."""
    return detach(mixer(random_input(5, dtype, seed=2))[1])


def position_by_position(
    mixer: nn.Module, x: Tensor, state: State, mask: Tensor | None, reset: Tensor | None
) -> tuple[Tensor, State]:
    """The meaning of mask and reset: padding is passed over, a reset starts again from nothing."""
    rows, states = [], []
    for b in range(x.shape[0]):
        row = mixer.initial_state(1) if state is None else select(state, torch.tensor([b]))
        ys = []
        for t in range(x.shape[1]):
            if reset is not None and reset[b, t]:
                row = mixer.initial_state(1)
            y = torch.full_like(x[b : b + 1, t : t + 1], torch.nan)  # unspecified at padding
            if mask is None or mask[b, t]:
                y, row = mixer(x[b : b + 1, t : t + 1], row, form="recurrent")
            ys.append(y)
        rows.append(torch.cat(ys, 1))
        states.append(row)
    merged = [torch.cat(parts) for parts in zip(*(tensors(s) for s in states), strict=True)]
    return torch.cat(rows), merged


def assert_near(found: Tensor, expected: Tensor, bound: float) -> None:
    """The largest difference is at most ``bound`` of the largest expected value (of 1 when that is smaller); an empty
    memory may be infinite, at the same places."""
    assert torch.equal(found.isinf(), expected.isinf())
    finite = ~expected.isinf()
    if finite.any():
        scale = max(expected[finite].abs().max().item(), 1.0)
        assert (found - expected)[finite].abs().max().item() <= bound * scale


def assert_same_state(found: State, expected: State, bound: float) -> None:
    pairs = list(zip(tensors(found), tensors(expected), strict=True))
    assert pairs
    for a, b in pairs:
        assert a.shape == b.shape
        assert_near(a.double(), b.double(), bound)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("start", ["empty", "used"])
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_every_cut_gives_the_same_answer(name: str, form: str, start: str, dtype: torch.dtype, bound: float) -> None:
    mixer, x = build(name, dtype), random_input(dtype=dtype)
    mask, reset = flags(TIME, 0.7, 3), flags(TIME, 0.2, 4)
    state = used_state(mixer, dtype) if start == "used" else None
    with torch.no_grad():
        whole, last = mixer(x, state, mask=mask, reset=reset, form=form)
        for cuts in ([1], [5], [TIME - 1], [2, 3, 7], range(1, TIME)):
            ys, now = [], state
            for a, b in zip([0, *cuts], [*cuts, TIME], strict=True):
                y, now = mixer(x[:, a:b], now, mask=mask[:, a:b], reset=reset[:, a:b], form=form)
                ys.append(y)
            assert_near(torch.cat(ys, 1)[mask], whole[mask], bound)
            assert_same_state(now, last, bound)


@pytest.mark.parametrize("start", ["empty", "used"])
@pytest.mark.parametrize("what", ["plain", "mask", "reset", "both"])
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_padding_and_resets_mean_what_they_say(name: str, form: str, what: str, start: str) -> None:
    mixer, x = build(name), random_input()
    mask = flags(TIME, 0.6, 5) if what in ("mask", "both") else None
    reset = flags(TIME, 0.3, 6) if what in ("reset", "both") else None
    if mask is not None:
        mask[0, :4] = False  # padding on the left
        mask[1, -3:] = False  # and on the right
    if mask is not None and reset is not None:
        reset[1] = False
        reset[1, -2] = True  # a document of which only padding is seen
        assert (reset & ~mask).any()
        assert (reset & mask).any()
    state = used_state(mixer) if start == "used" else None
    with torch.no_grad():
        y, last = mixer(x, state, mask=mask, reset=reset, form=form)
        expected, expected_last = position_by_position(mixer, x, state, mask, reset)
    assert y.isfinite().all()
    real = torch.ones(BATCH, TIME, dtype=torch.bool) if mask is None else mask
    assert_near(y[real], expected[real], 1e-9)
    assert_same_state(last, expected_last, 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_at_padding_does_not_matter(name: str) -> None:
    mixer, x = build(name), random_input()
    mask = flags(TIME, 0.6, 7)
    garbage = torch.where(mask[..., None], x, torch.nan)
    y, last = mixer(x, mask=mask)
    z, other = mixer(garbage, mask=mask)
    assert torch.equal(y[mask], z[mask])
    assert z.isfinite().all()
    assert all(torch.equal(a, b) for a, b in zip(tensors(last), tensors(other), strict=True))


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_the_future_is_not_seen(name: str, form: str) -> None:
    mixer, x = build(name), random_input()
    changed = x.clone()
    changed[:, 6] += 1
    y, z = mixer(x, form=form)[0], mixer(changed, form=form)[0]
    assert_near(z[:, :6], y[:, :6], 1e-12)
    assert (z[:, 6] - y[:, 6]).abs().min() > 0


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_rows_do_not_meet_and_nothing_is_random(name: str, form: str) -> None:
    mixer, x = build(name), random_input()
    state = used_state(mixer)
    before = copy.deepcopy(state)
    y, last = mixer(x, state, form=form)
    again, _ = mixer(x, state, form=form)
    assert torch.equal(y, again)
    assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(before), strict=True))
    row = torch.tensor([1])
    alone, alone_last = mixer(x[1:2], select(state, row), form=form)
    assert_near(alone, y[1:2], 1e-12)
    assert_same_state(alone_last, select(last, row), 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_none_is_the_empty_memory(name: str) -> None:
    mixer, x = build(name), random_input()
    (y, last), (z, other) = mixer(x), mixer(x, mixer.initial_state(BATCH))
    assert torch.equal(y, z)
    assert_same_state(last, other, 0.0)
    assert [p.shape for p in tensors(last)] == [p.shape for p in tensors(mixer.initial_state(BATCH))]
    assert state_bytes(last) == state_bytes(mixer(random_input(4 * TIME))[1])
    assert mixer.memory == "constant"


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_gradients_agree_with_finite_differences(name: str, form: str) -> None:
    mixer = build(name)
    x = random_input(5)[:2].requires_grad_()
    mask, reset = flags(5, 0.7, 8)[:2], flags(5, 0.3, 9)[:2]
    state = map_state(lambda p: p[:2].clone(), used_state(mixer))
    learned = [p for p in tensors(state) if p.is_floating_point()]
    for part in learned:
        part.requires_grad_()
    parameters = dict(mixer.named_parameters())

    def call(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        given = iter(rest)
        start = map_state(lambda p: next(given) if p.is_floating_point() else p, state)
        weights = dict(zip(parameters, given, strict=True))
        y, last = torch.func.functional_call(mixer, weights, (x, start), {"mask": mask, "reset": reset, "form": form})
        y = torch.where(mask[..., None], y, 0)
        return y, *(p for p in tensors(last) if p.is_floating_point())

    inputs = (x, *learned, *(p.detach().clone().requires_grad_() for p in parameters.values()))
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_on_the_last_state_reaches_the_first_input(name: str) -> None:
    mixer = build(name)
    x = random_input().requires_grad_()
    _, state = mixer(x[:, :4])
    _, last = mixer(x[:, 4:], state)
    sum(p.sum() for p in tensors(last) if p.is_floating_point()).backward(retain_graph=True)
    assert x.grad is not None
    assert x.grad[:, 0].abs().max() > 0
    x.grad = None
    mixer(x[:, 4:], detach(state))[0].sum().backward()
    assert x.grad[:, :4].abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_finite_at_four_thousand_positions(name: str) -> None:
    mixer = build(name, torch.float32)
    x = 3 * torch.randn(1, 4096, WIDTH, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    y, last = mixer(x, form="auto")
    y.square().mean().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(p.isfinite().all() for p in tensors(last) if p.is_floating_point())


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_half_precision_stays_near(name: str, form: str) -> None:
    mixer, x = build(name, torch.float32), random_input(dtype=torch.float32)
    expected, _ = mixer(x, form=form)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = mixer(x[:, :6], form=form)
        z, state = mixer(x[:, 6:], state, form=form)
    assert_near(torch.cat([y, z], 1).float(), expected, HALF_PRECISION.get(name, 0.1))
    z.float().sum().backward()
    half = copy.deepcopy(mixer).bfloat16()
    y, state = half(x.bfloat16(), form=form)
    y, _ = half(x.bfloat16(), state, form=form)
    assert y.dtype == torch.bfloat16
    assert y.isfinite().all()


@pytest.mark.parametrize("what", ["plain", "mask", "reset", "both"])
@pytest.mark.parametrize("name", NAMES)
def test_the_attention_matrix_gives_the_output(name: str, what: str) -> None:
    mixer, x = build(name), random_input()
    mask = flags(TIME, 0.7, 5) if what in ("mask", "both") else None
    reset = flags(TIME, 0.2, 6) if what in ("reset", "both") else None
    y, _ = mixer(x, mask=mask, reset=reset)
    matrix = mixer.attention(x, mask=mask, reset=reset)
    assert matrix.shape[0] == BATCH
    assert matrix.shape[2:] == (TIME, TIME)
    assert matrix.triu(1).abs().max() == 0
    found = mixer.read(x, matrix, mask=mask, reset=reset)
    real = torch.ones(BATCH, TIME, dtype=torch.bool) if mask is None else mask
    assert_near(found[real], y[real], 1e-10)
    if mask is not None:
        assert matrix.mT[(~mask)[:, None].expand(matrix.shape[:3])].abs().max() == 0  # nobody reads padding
    if reset is not None:
        assert matrix[2, :, 7:, :7][:, reset[2, 7:].cumsum(0) > 0].abs().sum() == 0


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_named(name: str) -> None:
    mixer, x = build(name), random_input()
    with pytest.raises(InputError, match="state holds"):
        mixer(x, mixer.initial_state(BATCH + 1))
    with pytest.raises(InputError, match="form is 'sideways'"):
        mixer(x, form="sideways")
    with pytest.raises(InputError, match="width = 16"):
        mixer(x[..., :-1])
    with pytest.raises(InputError, match=r"torch\.bool"):
        mixer(x, mask=torch.ones(BATCH, TIME))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("min_gru", {"expansion": 0}, "expansion is 0"),
        ("min_lstm", {"expansion": float("nan")}, "expansion is nan"),
        ("rg_lru", {"heads": 3}, "not divisible by heads 3"),
        ("rg_lru", {"conv": 0}, "conv is 0"),
        ("mamba", {"state_size": 0}, "state_size is 0"),
        ("linear_attention", {"heads": 3}, "not divisible"),
        ("retention", {"heads": 16}, "even size"),
        ("gated_delta_net", {"expand_value": -1}, "expand_value is -1"),
    ],
)
def test_bad_options_are_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_mixer(name)(WIDTH, **options)
