"""Decoding: a layer's step is its forward, runs only where it may, and leaves no trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqmem.mixers import MIXERS, get_mixer
from seqmem.mixers import _decoding as decoding
from seqmem.mixers.gated_delta_net import GatedDeltaNet
from seqmem.mixers.state import map_state, tensors

WIDTH = 16
STEPPING = [name for name in MIXERS if "step" in vars(get_mixer(name))]


def _layer(name: str, dtype: torch.dtype, **options: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = get_mixer(name)(WIDTH, **options).to(dtype)
        with torch.no_grad():
            for p in layer.parameters():
                p.add_(0.1 * torch.randn_like(p))
    return layer


def _draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that ran."""
    names: list[str] = []
    run = decoding.run_kernel

    def spy(kernel: str, *arguments: object) -> None:
        names.append(kernel)
        run(kernel, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "run_kernel", spy)
    for name in STEPPING:
        module = __import__(f"seqmem.mixers.{name}", fromlist=["x"])
        if hasattr(module, "run_kernel"):
            monkeypatch.setattr(module, "run_kernel", spy)
    return names


def test_which_layers_step() -> None:
    assert {"local_attention", "retention", "mamba", "rg_lru", "delta_net", "gated_delta_net"} <= set(STEPPING)


OPTIONS: list[tuple[str, dict[str, object]]] = [(name, {}) for name in STEPPING] + [
    ("local_attention", {"window": 1}),
    ("local_attention", {"window": 4, "heads": 2, "head": 4}),
    ("local_attention", {"window": 4, "heads": 4, "head": 8}),
    ("local_attention", {"window": 5, "heads": 4, "kv_heads": 2, "qk_norm": False}),
    ("retention", {"value_expansion": 1.5, "heads": 4}),
    ("mamba", {"conv": 1, "state_size": 3, "dt_rank": 2}),
    ("rg_lru", {"lru_width": 24, "heads": 2, "conv": 2}),
    ("delta_net", {"conv": 1, "allow_negative_eigenvalues": True}),
    ("gated_delta_net", {"expand_value": 1.5, "conv": 3}),
]


@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_a_step_is_forward(steps: list[str], name: str, options: dict[str, object], batch: int) -> None:
    """Token by token, from the first on, against the whole sequence in the general way."""
    layer, x = _layer(name, torch.float64, **options), _draw(batch, 12)
    expected, end = layer(x)
    state, ys = layer.initial_state(batch), []
    with torch.inference_mode():
        for t in range(x.shape[1]):
            before = map_state(torch.clone, state)
            y, after = layer(x[:, t : t + 1], state)
            assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(before), strict=True))
            ys.append(y)
            state = after
    assert steps
    torch.testing.assert_close(torch.cat(ys, 1), expected, rtol=1e-11, atol=1e-11)
    for a, b in zip(tensors(state), tensors(end), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", STEPPING)
def test_in_single_precision(steps: list[str], name: str) -> None:
    layer, x = _layer(name, torch.float32), _draw(2, 9, dtype=torch.float32)
    with torch.no_grad():
        expected, _ = layer(x)
        _, state = layer(x[:, :-1])
        y, _ = layer(x[:, -1:], state)
    assert steps
    torch.testing.assert_close(y[:, 0], expected[:, -1], rtol=2e-5, atol=2e-5)


def _kept(layer: nn.Module) -> tuple[Tensor, object]:
    x = _draw(2, 1)
    with torch.no_grad():
        return x, layer(_draw(2, 5))[1]


def test_an_input_of_any_strides(steps: list[str]) -> None:
    layer = _layer("local_attention", torch.float64)
    x, state = _kept(layer)
    strided = torch.empty(WIDTH, 1, 2, dtype=x.dtype).permute(2, 1, 0).copy_(x)
    with torch.no_grad():
        torch.testing.assert_close(layer(strided, state)[0], layer(x, state)[0])
    assert len(steps) == 2


class Doubled(GatedDeltaNet):
    def _close(self, x: Tensor, o: Tensor) -> Tensor:
        return 2 * super()._close(x, o)


class Lower(nn.Module):
    """Stands in place of a projection, as an adapter does, and shows its weight."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner

    @property
    def weight(self) -> Tensor:
        return self.inner.weight

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.inner(x)


def test_whatever_is_unusual_goes_the_general_way(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    layer = _layer("gated_delta_net", torch.float64)
    x, state = _kept(layer)
    yes, no = torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 1, dtype=torch.bool)
    plain = layer(x, state)[0]
    assert plain.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(layer(x, state, mask=yes)[0], plain)
        torch.testing.assert_close(layer(x, state, reset=no)[0], plain)
        torch.testing.assert_close(layer(x, state, form="recurrent")[0], plain)
        layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            layer(x, state)
        monkeypatch.setenv("SEQMEM_BACKEND", "reference")
        torch.testing.assert_close(layer(x, state)[0], plain)
        monkeypatch.delenv("SEQMEM_BACKEND")
        seen: list[Tensor] = []
        handle = layer.out.register_forward_hook(lambda *call: seen.append(call[-1]))
        layer(x, state)
        assert len(seen) == 1
        handle.remove()
        assert not steps
        torch.testing.assert_close(layer(x, state)[0], plain)
        assert len(steps) == 1
        layer.out = Lower(layer.out)
        torch.testing.assert_close(layer(x, state)[0], 2 * plain)
        assert len(steps) == 1


def test_a_subclass_is_itself(steps: list[str]) -> None:
    layer, own = _layer("gated_delta_net", torch.float64), Doubled(WIDTH).double()
    own.load_state_dict(layer.state_dict())
    x, state = _kept(layer)
    with torch.no_grad():
        torch.testing.assert_close(own(x, state)[0], 2 * layer(x, state)[0])
    assert len(steps) == 1


@pytest.mark.parametrize("name", STEPPING)
def test_what_does_not_fit_raises_and_reaches_no_kernel(steps: list[str], name: str) -> None:
    layer = _layer(name, torch.float64)
    x, state = _kept(layer)
    with torch.no_grad():
        with pytest.raises(Exception, match=r"rows|expected|size|shape"):
            layer(x[:1], state)
        with pytest.raises(Exception, match=r"width"):
            layer(x[..., :-1], state)
        layer.out = nn.Linear(WIDTH + 7, WIDTH).double()
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            layer(x, state)
    assert not steps


def test_the_state_may_be_of_another_dtype(steps: list[str]) -> None:
    """A float32 state under a float64 layer is promoted, as ever."""
    layer = _layer("delta_net", torch.float64)
    x, state = _kept(layer)
    with torch.no_grad():
        y, _ = layer(x, map_state(Tensor.float, state))
        torch.testing.assert_close(y, layer(x, state)[0], rtol=1e-4, atol=1e-4)
    assert len(steps) == 1  # the second call alone


def test_weights_are_read_anew(steps: list[str]) -> None:
    """Nothing of the weights is kept: not when they change in place, are replaced or change their dtype."""
    layer = _layer("rg_lru", torch.float64)
    x, state = _kept(layer)
    with torch.no_grad():
        layer(x, state)
        layer.in_gate.weight.mul_(2)
        layer.decay_logit.data = layer.decay_logit.data + 1
        layer.out.weight = nn.Parameter(layer.out.weight * 3)
        y = layer(x, state)[0]
        assert len(steps) == 2
        torch.testing.assert_close(y, layer(x, state, form="parallel")[0])
        layer.float()
        y = layer(x.float(), map_state(lambda t: t.float() if t.is_floating_point() else t, state))[0]
        assert y.dtype is torch.float32
        assert len(steps) == 3


def test_nan_stays_in_its_row() -> None:
    for name in STEPPING:
        layer = _layer(name, torch.float32)
        x = _draw(3, 1, dtype=torch.float32)
        with torch.no_grad():
            _, state = layer(_draw(3, 4, dtype=torch.float32))
            x[1] = torch.nan
            y, after = layer(x, state)
        assert y[1].isnan().any(), name
        assert not y[[0, 2]].isnan().any(), name
        assert not any(t[[0, 2]].isnan().any() for t in tensors(after)), name
