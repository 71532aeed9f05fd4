"""LRU, S4D, S5 and LSSL: against loops over dense systems, closed forms and their own convolutions."""

import math

import pytest
import torch
from torch import Tensor

from seqmem.errors import InputError
from seqmem.mixers import get_mixer
from seqmem.mixers._hippo import hippo
from seqmem.mixers.lru import LADDER, LRU
from seqmem.mixers.lssl import LSSL, LSSLState
from seqmem.mixers.s4d import S4D
from seqmem.mixers.s5 import S5


def signal(time: int, width: int, generator: torch.Generator) -> Tensor:
    return torch.randn(2, time, width, dtype=torch.float64, generator=generator)


def test_lru_is_its_equation_and_its_convolution(generator: torch.Generator) -> None:
    layer, x = LRU(6, state=5).double(), signal(40, 6, generator)
    b = torch.view_as_complex(layer.write.weight.unflatten(0, (5, 2)).transpose(1, 2).contiguous())  # (state, width)
    c = torch.view_as_complex(layer.out.weight.unflatten(1, (5, 2)).contiguous()).conj()
    eigenvalue = torch.exp(-layer.decay.exp() + 1j * layer.phase.exp())
    h, expected = torch.zeros(2, 5, dtype=torch.complex128), []
    for t in range(40):
        h = eigenvalue * h + layer.scale.exp() * (x[:, t].to(h.dtype) @ b.T)
        expected.append((h @ c.T).real + layer.skip * x[:, t])
    y, state = layer(x)
    torch.testing.assert_close(y, torch.stack(expected, 1), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.view_as_complex(state.hidden), h, rtol=1e-10, atol=1e-10)
    kernel = layer.kernel(40)
    convolved = sum(torch.nn.functional.pad(x[:, : 40 - lag] @ kernel[lag].T, (0, 0, lag, 0)) for lag in range(40))
    torch.testing.assert_close(convolved + layer.skip * x, y, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer.convolve(x), y, rtol=1e-10, atol=1e-10)


def test_the_ladder_has_every_step_of_the_lru() -> None:
    torch.manual_seed(0)
    steps = {
        name: get_mixer(step["name"])(64, **{k: v for k, v in step.items() if k != "name"})
        for name, step in LADDER.items()
    }
    x = torch.randn(1, 5, 64)
    for name, layer in steps.items():
        doubled = layer(2 * x)[0]
        assert torch.allclose(doubled - layer(0 * x)[0], 2 * (layer(x)[0] - layer(0 * x)[0]), atol=1e-4) == (
            name != "tanh"
        )
    with torch.no_grad():
        steps["diagonal"].eigenvalue.mul_(3)  # type: ignore[operator]
    assert steps["diagonal"].eigenvalues().abs().max() > 1  # type: ignore[operator]
    assert steps["exponential"].eigenvalues().abs().min() < 0.9 < steps["ring"].eigenvalues().abs().min()  # type: ignore[operator]
    assert steps["ring"].scale.exp().min() == 1 > steps["normalised"].scale.exp().max()  # type: ignore[operator]
    assert steps["phase"].eigenvalues().angle().abs().max() < math.pi / 9  # type: ignore[operator]


def test_an_lru_of_free_eigenvalues_is_the_same_recurrence(generator: torch.Generator) -> None:
    layer, x = LRU(6, state=5, exponential=False).double(), signal(40, 6, generator)
    torch.testing.assert_close(layer.convolve(x), layer(x, form="recurrent")[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer(x)[0], layer(x, form="recurrent")[0], rtol=1e-10, atol=1e-10)
    layer(x)[0].square().sum().backward()
    assert layer.eigenvalue.grad is not None
    assert layer.eigenvalue.grad.abs().min() > 0


def test_lru_begins_in_its_ring_and_is_normalised(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    layer = LRU(64, state=4000, smallest=0.9, largest=0.99, phase=math.pi / 10)
    eigenvalue = layer.eigenvalues()
    eigenvalue = eigenvalue.detach()
    assert 0.9 <= float(eigenvalue.abs().min()) <= float(eigenvalue.abs().max()) <= 0.99
    assert float(eigenvalue.angle().abs().max()) <= math.pi / 10 + 1e-5
    squared = eigenvalue.abs().square()
    assert float(squared.mean()) == pytest.approx((0.81 + 0.9801) / 2, abs=2e-3)  # uniform in area
    torch.testing.assert_close(layer.scale.exp(), (1 - squared).sqrt(), rtol=1e-4, atol=1e-5)
    assert torch.equal(LRU(8, normalised=False).scale, torch.zeros(8))


@pytest.mark.parametrize("initialisation", ["lin", "inv", "legs"])
def test_s4d_is_its_convolution(initialisation: str, generator: torch.Generator) -> None:
    layer, x = S4D(4, state=8, initialisation=initialisation).double(), signal(50, 4, generator)
    eigenvalue = torch.complex(-layer.log_decay.exp(), layer.frequency)
    step, c = layer.log_step.exp()[:, None], torch.view_as_complex(layer.reading)
    factor = c * (torch.exp(eigenvalue * step) - 1) / eigenvalue
    lag = torch.arange(50, dtype=torch.float64)  # the closed form of the kernel, with both of a pair
    both = [part[..., None] * torch.exp(value[..., None] * step[..., None] * lag)
            for part, value in ((factor, eigenvalue), (factor.conj(), eigenvalue.conj()))]  # fmt: skip
    kernel = sum(both).sum(1).real  # type: ignore[union-attr]
    torch.testing.assert_close(layer.kernel(50), kernel, rtol=1e-10, atol=1e-10)
    convolved = torch.stack(
        [sum(kernel[:, t - j] * x[:, j] for j in range(t + 1)) for t in range(50)],  # type: ignore[misc]
        1,
    )
    torch.testing.assert_close(layer(x)[0], layer._close(x, convolved), rtol=1e-9, atol=1e-9)


def test_s4d_begins_as_published() -> None:
    assert torch.allclose(S4D(3, state=8).frequency[0], math.pi * torch.arange(4.0))
    n = torch.arange(4.0)
    assert torch.allclose(S4D(3, state=8, initialisation="inv").frequency[0], 8 / math.pi * (8 / (2 * n + 1) - 1))


@pytest.mark.parametrize("blocks", [1, 2])
def test_s5_is_the_dense_real_system_that_it_diagonalises(blocks: int, generator: torch.Generator) -> None:
    """HiPPO-N as a real matrix, held over one step by the matrix exponential; B and C back in the real basis."""
    torch.manual_seed(3)
    size, width = 8, 5
    layer = S5(width, state=size, blocks=blocks).double()
    with torch.no_grad():
        layer.log_step.fill_(math.log(0.05))
    part = size // blocks
    a, _ = hippo("legs", part)
    p = torch.sqrt(torch.arange(part, dtype=torch.float64) + 0.5)
    dense = torch.block_diag(*[a + torch.outer(p, p)] * blocks)
    values = torch.linalg.eigvals(dense)
    found = torch.view_as_complex(torch.stack([-layer.log_decay.exp(), layer.frequency], -1))
    upper = torch.cat([found, found.conj()])
    assert all(float((values - value).abs().min()) < 1e-5 for value in upper)
    # the layer's own B and C, through its basis, on the dense system: y = 2 Re(C h) is a real read-out of a real state
    decay = torch.exp(found * 0.05)
    b = torch.view_as_complex(layer.write.weight.unflatten(0, (-1, 2)).transpose(1, 2).contiguous())
    c = torch.view_as_complex(layer.out.weight.unflatten(1, (-1, 2)).contiguous()).conj()
    x = signal(30, width, generator)
    real = torch.view_as_real
    rotation = torch.stack([torch.stack([decay.real, -decay.imag], -1), torch.stack([decay.imag, decay.real], -1)], -2)
    h = torch.zeros(2, size // 2, 2, dtype=torch.float64)
    ys = []
    for t in range(30):
        write = ((decay - 1) / found) * (x[:, t].to(b.dtype) @ b.T)
        h = torch.einsum("nij,bnj->bni", rotation, h) + real(write)
        u = torch.nn.functional.gelu(2 * (torch.view_as_complex(h) @ c.T).real + layer.skip * x[:, t])
        ys.append(u * torch.sigmoid(layer.gate(u)))
    torch.testing.assert_close(layer(x)[0], torch.stack(ys, 1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("measure", ["legs", "legt", "laguerre", "random"])
def test_lssl_is_its_recurrence_and_its_convolution(measure: str, generator: torch.Generator) -> None:
    torch.manual_seed(1)
    layer = LSSL(3, state=16, measure=measure, longest=0.02).double()
    x = signal(300, 3, generator)
    decay, write = layer.discretised()
    h, read = torch.zeros(2, 3, 16, dtype=torch.float64), []
    for t in range(300):
        h = torch.einsum("hnm,bhm->bhn", decay, h) + write * x[:, t, :, None]
        read.append((h * layer.reading).sum(-1))
    y, state = layer(x)
    torch.testing.assert_close(y, layer._close(x, torch.stack(read, 1)), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(state.coefficients, h, rtol=1e-9, atol=1e-9)
    spectrum = torch.fft.rfft(layer.kernel(300).T, n=600, dim=0) * torch.fft.rfft(x, n=600, dim=1)
    convolved = torch.fft.irfft(spectrum, n=600, dim=1)[:, :300]
    torch.testing.assert_close(convolved, torch.stack(read, 1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(layer.convolve(x), y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("measure", "ages"), [("legs", (0.1, 2.0)), ("legt", (0.05, 0.95)), ("laguerre", (0.1, 3.0))])
def test_a_state_recalls_what_was_read(measure: str, ages: tuple[float, float]) -> None:
    torch.manual_seed(0)
    layer = LSSL(2, state=32, measure=measure, shortest=1e-3, longest=2e-3).double()
    age = torch.arange(12_000.0, dtype=torch.float64).flip(0)[:, None] * layer.log_step.exp()  # in units of time
    x = (torch.sin(1.5 * age) * torch.exp(-(age**2) / 4))[None]  # of finite energy, which Laguerre's functions need
    _, state = layer(x)
    lags = (torch.linspace(*ages, 50) / layer.log_step.exp().max()).long()
    recalled = layer.recall(state, lags)
    read = x[0, -1 - lags].T
    assert float((recalled[0] - read).norm() / read.norm()) < 0.02
    shuffled = LSSLState(state.coefficients[..., torch.randperm(32)])
    assert float((layer.recall(shuffled, lags)[0] - read).norm() / read.norm()) > 0.5


def test_a_gate_is_a_discretisation() -> None:
    """x' = -x + u by backward Euler with dt = exp(z) keeps 1 - sigmoid(z) and writes sigmoid(z)."""
    layer = LSSL(4, state=1, alpha=1.0).double()
    with torch.no_grad():
        layer.a.fill_(-1.0)
        layer.b.fill_(1.0)
        layer.log_step.copy_(torch.tensor([-2.0, -0.3, 0.5, 3.0]))
    decay, write = layer.discretised()
    torch.testing.assert_close(decay[:, 0, 0], 1 - torch.sigmoid(layer.log_step))
    torch.testing.assert_close(write[:, 0], torch.sigmoid(layer.log_step))


def test_legs_remembers_a_slow_signal() -> None:
    """The coefficients are those of the whole past in Legendre polynomials: reading them out gives the signal back."""
    size, steps = 24, 4000
    a, b = hippo("legs", size)
    time = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[1:]
    u = torch.sin(2 * math.pi * 2 * time) + 0.5 * torch.cos(2 * math.pi * 3 * time)
    one, c = torch.eye(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for k, value in enumerate(u.tolist(), 1):  # c' = (A c + B u) / t, bilinear
        c = torch.linalg.solve(one - a / (2 * k), (one + a / (2 * k)) @ c + b / k * value)
    s = 2 * time - 1
    basis = [torch.ones_like(s), s]
    for n in range(1, size - 1):
        basis.append(((2 * n + 1) * s * basis[-1] - n * basis[-2]) / (n + 1))
    rebuilt = sum(math.sqrt(2 * n + 1) * float(c[n]) * basis[n] for n in range(size))
    assert float((rebuilt - u).norm() / u.norm()) < 0.05  # type: ignore[union-attr]


def test_another_sampling_rate_is_another_time_step(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    layer = LSSL(2, state=12, longest=0.01).double()
    x = torch.sin(torch.linspace(0, 12, 400, dtype=torch.float64))[None, :, None].expand(1, 400, 2)
    fine = layer(x)[1].coefficients
    layer.rate = 2.0
    coarse = layer(x[:, 1::2])[1].coefficients
    layer.rate = 1.0
    unchanged = layer(x[:, 1::2])[1].coefficients
    assert float((coarse - fine).norm()) < 0.05 * float(fine.norm()) < 0.3 * float((unchanged - fine).norm())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LRU(4, smallest=0.9, largest=0.5), "smallest"),
        (lambda: LRU(4, phase=0), "phase"),
        (lambda: S4D(4, state=3), "even"),
        (lambda: S4D(4, initialisation="linear"), "lin, inv, legs"),
        (lambda: S5(4, state=6, blocks=2), "multiple of 2"),
        (lambda: LSSL(4, measure="leg"), "legs, legt"),
        (lambda: LSSL(4, alpha=2.0), "alpha"),
        (lambda: LSSL(4, measure="random").recall(LSSLState(torch.zeros(1, 4, 32)), torch.arange(3)), "measure"),
    ],
)
def test_bad_options_say_what_is_expected(make, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=words):
        make()
