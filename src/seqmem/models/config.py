"""The description of a :class:`seqmem.models.SequenceLM`, as it is written to ``config.json``."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from transformers import PreTrainedConfig

from seqmem.errors import InputError, did_you_mean
from seqmem.mixers import MIXERS
from seqmem.models.feed_forward import ACTIVATIONS

LayerSpec = str | dict[str, Any]
MLPS = ("swiglu", "fan", "gated", "plain", "rwkv")
NORMS = ("rms", "layer")


class SequenceConfig(PreTrainedConfig):
    """A stack of mixers.

    layers: one item per layer, bottom first: a mixer's name, ``"package.module:ClassName"``, or ``{"name": ...,
    **options}``, the options being keyword arguments of the mixer's constructor. mixer_options: ``{name: options}`` for
    every layer of that name; it is merged into ``layers``, where a layer's own options win. mlp_width: hidden units of
    the MLP after each mixer; None: 8/3 of the width, to the nearest multiple of 8; 0: no MLP. mlp: "swiglu"; "fan" for
    a Fourier analysis layer in front of a linear one (:class:`seqmem.models.fan.FANLayer`); "gated" and "plain" for
    :class:`seqmem.models.feed_forward.FeedForward` with the activation mlp_activation and, with mlp_bias, biases;
    "rwkv" for :class:`seqmem.mixers.rwkv_channel_mix.RWKVChannelMix`, which remembers one position. short_conv:
    positions that a causal depthwise convolution in front of a mixer sees, so that none has to learn to look a few
    tokens back; a mixer that begins with such a convolution itself (``convolves = True``) gets no second one; 0: none.
    norm: "rms", or "layer" for LayerNorm with biases; norm_eps: of every norm, or a list with one for each layer and
    one for the last norm. positions: so many learned positions are added to the embeddings, and no text may be longer;
    0: none. embedding_norm: a norm before the first layer. embedding_scale: the embeddings are multiplied by it.
    logit_softcap: logits are cap tanh(logits / cap); None: as they are. perspectives: the text is read in so many
    streams, see :mod:`seqmem.models.perspectives`. tie_embeddings: the head is the transposed embedding.
    initializer_range: standard deviation of the embedding and of an untied head; None: 1 / sqrt(width), so
    that a new model's logits are of order one. bos_token_id, eos_token_id (one or several), pad_token_id: what
    ``generate`` begins with, stops at and fills up with. Anything else goes to ``transformers.PreTrainedConfig``.

    Raises InputError for a value that cannot be meant.
    """

    model_type = "seqmem"
    attribute_map = {  # noqa: RUF012 - the base class declares it
        "hidden_size": "width",
        "intermediate_size": "mlp_width",
        "tie_word_embeddings": "tie_embeddings",
    }
    keys_to_ignore_at_inference = ["cache", "past_key_values"]  # noqa: RUF012

    vocab_size: int = 256
    width: int = 64
    layers: Sequence[LayerSpec] = ("rg_lru", "rg_lru", "local_attention")
    mlp_width: int | None = None
    short_conv: int = 0
    norm_eps: float | Sequence[float] = 1e-5
    tie_embeddings: bool = True
    initializer_range: float | None = None
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    mlp: str = "swiglu"
    mlp_activation: str = "silu"
    mlp_bias: bool = False
    norm: str = "rms"
    positions: int = 0
    embedding_norm: bool = False
    embedding_scale: float = 1.0
    logit_softcap: float | None = None
    perspectives: int = 1

    def __init__(
        self,
        vocab_size: int = 256,
        width: int = 64,
        layers: Sequence[str | Mapping[str, Any]] = ("rg_lru", "rg_lru", "local_attention"),
        mixer_options: Mapping[str, Mapping[str, Any]] | None = None,
        mlp_width: int | None = None,
        short_conv: int = 0,
        norm_eps: float | Sequence[float] = 1e-5,
        tie_embeddings: bool = True,
        initializer_range: float | None = None,
        use_cache: bool = True,
        bos_token_id: int | None = None,
        eos_token_id: int | list[int] | None = None,
        pad_token_id: int | None = None,
        mlp: str = "swiglu",
        mlp_activation: str = "silu",
        mlp_bias: bool = False,
        norm: str = "rms",
        positions: int = 0,
        embedding_norm: bool = False,
        embedding_scale: float = 1.0,
        logit_softcap: float | None = None,
        perspectives: int = 1,
        **kwargs: Any,
    ) -> None:
        # transformers' own names for the same things arrive here when a config is rebuilt from its dictionary or by a
        # tool
        width = kwargs.pop("hidden_size", width)
        mlp_width = kwargs.pop("intermediate_size", mlp_width)
        tie_embeddings = kwargs.pop("tie_word_embeddings", tie_embeddings)
        _refuse_misspelled(kwargs)
        self.vocab_size = _whole("vocab_size", vocab_size, least=1)
        self.width = _whole("width", width, least=1)
        self.layers = _layer_specs(layers, mixer_options or {})
        self.mlp_width = max(8, 8 * round(width / 3)) if mlp_width is None else _whole("mlp_width", mlp_width, least=0)
        if mlp not in MLPS:
            raise InputError(f"mlp is {mlp!r}, expected one of {', '.join(MLPS)}; mlp_width=0 leaves it out")
        self.mlp = mlp
        self.mlp_activation = _one_of("mlp_activation", mlp_activation, ACTIVATIONS)
        self.mlp_bias = bool(mlp_bias)
        self.norm = _one_of("norm", norm, NORMS)
        self.positions = _whole("positions", positions, least=0)
        self.embedding_norm = bool(embedding_norm)
        self.embedding_scale = _positive("embedding_scale", embedding_scale)
        self.logit_softcap = None if logit_softcap is None else _positive("logit_softcap", logit_softcap)
        self.perspectives = _whole("perspectives", perspectives, least=1)
        self.short_conv = _whole("short_conv", short_conv, least=0)
        self.norm_eps = _epsilons(norm_eps, len(self.layers))
        self.tie_embeddings = bool(tie_embeddings)
        spread = self.width**-0.5 if initializer_range is None else initializer_range
        self.initializer_range = _positive("initializer_range", spread)
        self.use_cache = bool(use_cache)
        self.bos_token_id = _token("bos_token_id", bos_token_id, vocab_size)
        self.eos_token_id = (
            [_whole("eos_token_id", one, 0, vocab_size) for one in eos_token_id]
            if isinstance(eos_token_id, (list, tuple))
            else _token("eos_token_id", eos_token_id, vocab_size)
        )
        self.pad_token_id = _token("pad_token_id", pad_token_id, vocab_size)
        # the base class sets a default for each of its own fields; ours are no fields to it
        super().__init__(**kwargs)

    @property
    def num_hidden_layers(self) -> int:
        """transformers' name for the number of layers."""
        return len(self.layers)

    def eps(self, layer: int) -> float:
        """Of the norms of a layer; of the last norm where ``layer`` is the number of layers."""
        return self.norm_eps if isinstance(self.norm_eps, float) else self.norm_eps[layer]

    def mixer(self, layer: int) -> tuple[str, dict[str, Any]]:
        """Name and constructor options of the mixer in a layer."""
        spec = self.layers[layer]
        if isinstance(spec, str):
            return spec, {}
        return spec["name"], {key: value for key, value in spec.items() if key != "name"}


def _layer_specs(layers: Any, mixer_options: Any) -> list[LayerSpec]:
    """Validated layers with ``mixer_options`` merged in: a bare name where there are no options, else a dictionary."""
    if isinstance(layers, (str, Mapping)) or not isinstance(layers, Sequence) or not layers:
        raise InputError(
            f"layers is {layers!r}, expected a list with one mixer per layer such as ['rg_lru', 'attention']"
        )
    if not isinstance(mixer_options, Mapping):
        raise InputError(
            f"mixer_options is {mixer_options!r}, expected a dictionary from a mixer's name to its options"
        )
    specs: list[LayerSpec] = []
    for index, layer in enumerate(layers):
        if not isinstance(layer, (str, Mapping)):
            raise InputError(f"layers[{index}] is {layer!r}, expected a mixer's name or a dictionary with a 'name'")
        own = {"name": layer} if isinstance(layer, str) else dict(layer)
        name = own.pop("name", None)
        _check_name(name, index)
        shared = mixer_options.get(name, {})
        if not isinstance(shared, Mapping):
            raise InputError(f"mixer_options['{name}'] is {shared!r}, expected a dictionary of options")
        options = {**shared, **own}
        try:
            json.dumps(options)
        except (TypeError, ValueError) as error:
            raise InputError(f"the options of layers[{index}] ({name}) cannot be written as JSON: {error}") from error
        specs.append({"name": name, **options} if options else name)
    names = {spec if isinstance(spec, str) else spec["name"] for spec in specs}
    for name in mixer_options:
        if name not in names:
            raise InputError(
                f"mixer_options names '{name}', but no layer is one; layers are {', '.join(sorted(names))}"
            )
    return specs


def _check_name(name: Any, index: int) -> None:
    """A class of one's own is looked up only when the model is built: a config can be read without importing it."""
    if not isinstance(name, str):
        raise InputError(f"layers[{index}] has name {name!r}, expected a mixer's name; known: {', '.join(MIXERS)}")
    if ":" not in name and name not in MIXERS:
        raise InputError(
            f"layers[{index}]: unknown mixer {name!r}.{did_you_mean(name, MIXERS)}"
            f" Known: {', '.join(MIXERS)}; or give your own as package.module:ClassName"
        )


def _refuse_misspelled(kwargs: Mapping[str, Any]) -> None:
    """transformers keeps any keyword it does not know; a near miss of one of ours is a mistake."""
    ours = [*SequenceConfig.__annotations__, "mixer_options"]
    for key in kwargs:
        if near := difflib.get_close_matches(key, ours, n=1, cutoff=0.8):
            raise InputError(f"SequenceConfig has no '{key}'. Did you mean '{near[0]}'?")


def _whole(name: str, value: Any, least: int, below: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (below is not None and value >= below):
        wanted = f"of at least {least}" if below is None else f"from {least} to {below - 1}"
        raise InputError(f"{name} is {value!r}, expected a whole number {wanted}")
    return value


def _one_of(name: str, value: Any, known: Collection[str]) -> str:
    if value not in known:
        raise InputError(f"{name} is {value!r}, expected one of {', '.join(known)}")
    return str(value)


def _epsilons(value: Any, layers: int) -> float | list[float]:
    if not isinstance(value, (list, tuple)):
        return _positive("norm_eps", value)
    if len(value) != layers + 1:
        raise InputError(f"norm_eps has {len(value)} numbers, expected one, or {layers + 1}: one a layer and a last")
    return [_positive("norm_eps", one) for one in value]


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InputError(f"{name} is {value!r}, expected a number above 0")
    return float(value)


def _token(name: str, value: Any, vocab_size: int) -> int | None:
    return None if value is None else _whole(name, value, 0, vocab_size)
