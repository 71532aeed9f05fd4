"""One small call of every op, for what all of them have to stand. Run as a script, it compares every op with its
reference, gradients included, and prints the names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from seqmem import ops

BATCH, TIME, HEADS, KEY, VALUE, CHANNELS, STATE = 3, 5, 2, 3, 4, 6, 2

Call = Callable[..., tuple[Tensor, Any]]


def calls(
    dtype: torch.dtype = torch.float64, batch: int = BATCH, time: int = TIME
) -> dict[str, tuple[Call, list[Tensor], list[Tensor]]]:
    """Name -> (call(*sequences, *weights, **options), sequences (batch, time, ...), weights without a batch)."""
    generator = torch.Generator().manual_seed(0)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64).to(dtype)

    def seq(*sizes: int) -> Tensor:
        return normal(batch, time, *sizes)

    q, k, v, g = seq(HEADS, KEY), seq(HEADS, KEY), seq(HEADS, VALUE), -seq(HEADS).abs()
    per_key, beta, x = -seq(HEADS, KEY).abs(), seq(HEADS).sigmoid(), seq(CHANNELS)
    a, b = k / k.norm(dim=-1, keepdim=True), seq(HEADS, KEY) / 3
    B, C = seq(STATE), seq(STATE)
    negative = -normal(CHANNELS).abs()
    table: dict[str, tuple[Call, list[Tensor], list[Tensor]]] = {
        "linear_scan": (ops.linear_scan, [seq(CHANNELS).sigmoid(), x], []),
        "selective_scan": (
            lambda u, dt, B, C, A, **o: ops.selective_scan(u, dt, A, B, C, **o),
            [x, seq(CHANNELS).abs(), B, C],
            [-normal(CHANNELS, STATE).abs()],
        ),
        "ssd": (ops.ssd, [q, k, v, g], []),
        "gated_linear_attention": (ops.gated_linear_attention, [q, k, v, per_key], []),
        "delta_rule": (ops.delta_rule, [q, a, v, beta, g], []),
        "generalized_delta_rule": (ops.generalized_delta_rule, [q, k, v, -a, b, per_key], []),
        "running_softmax": (ops.running_softmax, [seq(HEADS), v], []),
        "wkv": (ops.wkv, [x, seq(CHANNELS)], [negative, normal(CHANNELS)]),
        "lstm": (ops.lstm, [seq(4 * KEY)], [normal(4 * KEY, KEY)]),
        "gru": (ops.gru, [seq(3 * KEY)], [normal(3 * KEY, KEY)]),
        "slstm": (ops.slstm, [seq(HEADS, 4, KEY)], [normal(HEADS, 4 * KEY, KEY)]),
        "causal_conv": (ops.causal_conv, [x], [normal(CHANNELS, 3), normal(CHANNELS)]),
    }
    return table


def flat(result: tuple[Tensor, Any]) -> list[Tensor]:
    """The output and every tensor of the final state."""
    y, state = result
    return [y, state] if isinstance(state, Tensor) else [y, *state]


def differentiated(call: Call, inputs: list[Tensor], **options: Any) -> list[Tensor]:
    """Outputs, final state and the gradients of all inputs."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    results = flat(call(*inputs, **options))
    outputs = [y for y in results if y.requires_grad]  # without rows there is nothing to differentiate
    given = [torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y) for y in outputs]
    grads = torch.autograd.grad(outputs, inputs, given, materialize_grads=True, allow_unused=True)
    return [*(y.detach() for y in results), *grads]


def compared() -> Iterator[str]:
    """Every op against its reference, and one step without gradients; AssertionError where they differ."""
    for name, (call, sequences, weights) in calls().items():
        inputs = [*sequences, *weights]
        expected = differentiated(call, inputs, backend="reference")
        torch.testing.assert_close(
            differentiated(call, inputs), expected, msg=lambda text, name=name: f"{name}: {text}"
        )
        first = [x[:, :1] for x in sequences]
        with torch.no_grad():
            got, wanted = (flat(call(*first, *weights, backend=b)) for b in ("auto", "reference"))
        torch.testing.assert_close(got, wanted, msg=lambda text, name=name: f"{name}, one step: {text}")
        yield name


if __name__ == "__main__":
    torch.set_num_threads(2)
    print(*compared())
