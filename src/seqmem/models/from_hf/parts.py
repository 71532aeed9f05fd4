"""What the families' files share: where weights are collected, and the refusal of what cannot be expressed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqmem.errors import InputError


class Converted(NamedTuple):
    """What a family has of its own. options: of the SequenceConfig. weights: of the SequenceLM, by name."""

    options: dict[str, Any]
    weights: dict[str, Tensor]


#: transformers' name of an activation -> ours
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_pytorch_fast": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu_squared",
}


def only(config: Any, option: str, known: Iterable[Any], advice: str) -> Any:
    """The option's value; InputError, which names family and option, where it is none of the known ones."""
    value, known = getattr(config, option), list(known)
    if value not in known:
        raise InputError(
            f"'{config.model_type}' with {option} = {value!r} cannot be converted, expected "
            f"{' or '.join(repr(one) for one in known)}; {advice}"
        )
    return value


def activation(config: Any, option: str) -> str:
    """Our name of an activation."""
    return ACTIVATIONS[only(config, option, ACTIVATIONS, "use the model as it is, or ask for this activation")]


def put(weights: dict[str, Tensor], name: str, module: Any) -> None:
    """A module's weight, and its bias where it has one, under ``name``."""
    weights[f"{name}.weight"] = module.weight
    if getattr(module, "bias", None) is not None:
        weights[f"{name}.bias"] = module.bias


def put_rows(weights: dict[str, Tensor], name: str, modules: Iterable[Any]) -> None:
    """Several linear maps of one input as one, their outputs one after the other."""
    modules = list(modules)
    weights[f"{name}.weight"] = torch.cat([module.weight for module in modules])
    if modules[0].bias is not None:
        weights[f"{name}.bias"] = torch.cat([module.bias for module in modules])


def gated_mlp(weights: dict[str, Tensor], name: str, mlp: Any) -> None:
    """Llama's MLP, whose parts go by the same names in half the families."""
    for ours, theirs in (("gate", "gate_proj"), ("up", "up_proj"), ("down", "down_proj")):
        put(weights, f"{name}.{ours}", getattr(mlp, theirs))


def mlp_options(activation: str, bias: bool) -> dict[str, Any]:
    """The config of a gated MLP: SwiGLU's own fast path where it is one."""
    if activation == "silu" and not bias:
        return {"mlp": "swiglu"}
    return {"mlp": "gated", "mlp_activation": activation, "mlp_bias": bias}


def turning(config: Any, rotary: Any, head: int) -> tuple[dict[str, Any], Tensor, float]:
    """How a family's rotary positions are said to :class:`seqmem.mixers.attention.Attention`.

    rotary: transformers' module with ``inv_freq``. Returns the options, the order in which a head's channels go into
    ours (their pairs stand side by side in the turned part, ours half a head apart), and a factor of queries.
    InputError where frequencies depend on the length of the text.
    """
    about = config.rope_parameters
    kind = about.get("rope_type", "default")
    if kind in ("dynamic", "longrope"):
        raise InputError(
            f"'{config.model_type}' with rope_type = '{kind}' cannot be converted: its frequencies depend on the "
            "length of the text; set rope_parameters to another type before loading"
        )
    frequencies = rotary.inv_freq.detach().double().cpu()
    turned, half = len(frequencies), head // 2
    if kind == "default" and turned == half:
        options: dict[str, Any] = {"rope_base": float(about["rope_theta"])}
    else:
        if kind == "default":  # in double precision, as ours are
            frequencies = about["rope_theta"] ** (-torch.arange(turned, dtype=torch.float64) / turned)
        options = {"frequencies": [*frequencies.tolist(), *[0.0] * (half - turned)]}
    rest = torch.arange(2 * turned, head)
    first, second = torch.arange(turned), torch.arange(turned, 2 * turned)
    split = half - turned
    order = torch.cat([first, rest[:split], second, rest[split:]])
    return options, order, float(getattr(rotary, "attention_scaling", 1.0)) ** 2


def reordered(module: Any, order: Tensor, factor: float = 1.0) -> Any:
    """A linear map to heads, the channels of every head in this order, and times ``factor``."""
    order = order.to(module.weight.device)

    def of(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.unflatten(0, (-1, len(order)))[:, order].flatten(0, 1) * factor

    return Linear(of(module.weight), of(module.bias))


class Linear(NamedTuple):
    """A weight and a bias that were computed from a module's."""

    weight: Any
    bias: Any


def one_more(norm: Any) -> Linear:
    """The gain 1 + weight as a weight."""
    return Linear(norm.weight + 1, None)
