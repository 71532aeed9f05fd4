"""A causal language model made of mixers: embedding, blocks of (mixer, MLP) on a residual stream, norm, head."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.modeling_outputs import CausalLMOutputWithPast

from seqmem.errors import InputError
from seqmem.loading import nothing_imported
from seqmem.mixers._shared import count_positions
from seqmem.mixers.state import State
from seqmem.models.block import Block, make_norm
from seqmem.models.cache import NAME, StateCache, given_cache
from seqmem.models.config import SequenceConfig
from seqmem.models.perspectives import Views


class SequenceLM(PreTrainedModel, GenerationMixin):
    """``SequenceLM(SequenceConfig(vocab_size, width, layers=["rg_lru", "rg_lru", "local_attention"]))``.

    Two ways to call it. :meth:`run` is a pure function of tokens and states: for training, truncated back-propagation
    and timing. :meth:`forward` is the transformers call around it: for ``generate``, Trainer, PEFT and lm-eval.
    """

    config_class = SequenceConfig
    supports_gradient_checkpointing = True
    _is_stateful = True  # transformers then refuses assisted generation, which must take tokens back
    _no_split_modules = ["Block"]  # noqa: RUF012 - the base class declares it
    _tied_weights_keys = {"lm_head.weight": "embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        with _at_least_float32() as dtype:  # what a layer computes in its constructor is rounded once, at the end
            self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
            self.embed_positions = nn.Embedding(config.positions, config.width) if config.positions else None
            self.embed_norm = make_norm(config, 0) if config.embedding_norm else None
            self.layers = nn.ModuleList(Block(config, layer) for layer in range(len(config.layers)))
            self.norm = make_norm(config, len(config.layers))
            self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
            self.views = Views(config.width, config.perspectives, self.layers) if config.perspectives > 1 else None
        if dtype != self.embed_tokens.weight.dtype:
            nn.Module.to(self, dtype)
        for module in self.layers.modules():
            module._is_hf_initialized = True  # type: ignore[assignment] # each has initialised itself, as its paper says
        self.post_init()

    def run(
        self,
        input_ids: Tensor,
        states: tuple[State, ...] | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        asked: Tensor | None = None,
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Read tokens: ``logits, states = model.run(input_ids, states)``.

        input_ids: (batch, time) int64. states: one mixer state per layer as returned by an earlier call, None when
        nothing has been read; ``seqmem.mixers.state.detach(states)`` cuts the gradient. With learned positions one more
        item, the last, counts what was read. mask, reset: (batch, time)
        bool, see :mod:`seqmem.mixers.base`. Returns logits (batch, time, vocab_size), ``logits[:, t]`` being about the
        token after position ``t``, and the new states.

        asked: (batch, time) bool, the positions whose logits are wanted: they then come as (asked, vocab_size), row
        after row, and the head is spared the others.
        """
        if input_ids.ndim != 2 or input_ids.shape[1] < 1:
            raise InputError(f"input_ids has shape {tuple(input_ids.shape)}, expected (batch, time >= 1)")
        *_, x, states = self._read(self.embed_tokens(input_ids), states, mask, reset)
        return self._logits(x if asked is None else x[asked]), states

    def _read(
        self, x: Tensor, states: tuple[State, ...] | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[list[Tensor], Tensor, tuple[State, ...]]:
        """Through all blocks: the residual stream before each, the normed one after the last, and the new states."""
        if self.views is not None:
            return self.views(self._read_rows, x, states, mask, reset)
        return self._read_rows(x, states, mask, reset)

    def _read_rows(
        self, x: Tensor, states: tuple[State, ...] | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[list[Tensor], Tensor, tuple[State, ...]]:
        """The same where every row of x is a stream."""
        count = len(self.layers) + (self.embed_positions is not None)
        if states is None:
            states = (None,) * count
        if len(states) != count:
            more = "" if count == len(self.layers) else ", and the count of positions"
            raise InputError(
                f"states has {len(states)} items, expected one for each of the {len(self.layers)} layers{more}"
            )
        x = x * self.config.embedding_scale if self.config.embedding_scale != 1 else x
        if self.embed_positions is not None:
            position, read = self._positions(x, states[-1], mask, reset)
            x = x + self.embed_positions(position)
        if self.embed_norm is not None:
            x = self.embed_norm(x)
        stream, new_states = [], []
        for block, state in zip(self.layers, states[: len(self.layers)], strict=True):
            stream.append(x)
            x, state = block(x, state, mask, reset)  # (batch, time, width)
            new_states.append(state)
        if self.embed_positions is not None:
            new_states.append(read)
        return stream, self.norm(x), tuple(new_states)

    def _positions(
        self, x: Tensor, read: Tensor | None, mask: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(batch, time) positions of real tokens in their document, and (batch,) how many it has now."""
        start = x.new_zeros(len(x), dtype=torch.long) if read is None else read
        position, read = count_positions(start, x.shape[1], mask, reset)
        real = position if mask is None else position.masked_fill(~mask, 0)
        if (last := int(real.max())) >= self.config.positions:
            raise InputError(
                f"the text reaches position {last}, and the model has learned positions 0 to "
                f"{self.config.positions - 1}; give a shorter one"
            )
        return real, read

    def _logits(self, x: Tensor) -> Tensor:
        """The head, and the soft cap where there is one."""
        logits, cap = self.lm_head(x), self.config.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: StateCache | None = None,
        use_cache: bool | None = None,
        reset: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        cache: StateCache | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast | tuple[Any, ...]:
        """The transformers call.

        input_ids: (batch, time), or inputs_embeds: (batch, time, width). attention_mask: (batch, at least time), 0 at
        padding; its last ``time`` columns are about the given tokens. labels: (batch, time), shifted here, -100 where
        nothing is asked. past_key_values, or cache (its name since transformers 5.24): a :class:`StateCache`, updated
        in place. reset: (batch, time) bool, True where a new document begins. logits_to_keep: only the last so many
        logits, or those at these positions; 0: all.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError("give exactly one of input_ids and inputs_embeds")
        memory = given_cache(past_key_values, cache)
        if labels is not None and not (isinstance(logits_to_keep, int) and logits_to_keep == 0):
            raise InputError("labels need all logits; leave logits_to_keep out")
        if kwargs.get("output_attentions"):
            raise InputError(
                "output_attentions is not available; use model.layers[i].mixer.attention(x) where the layer has one"
            )
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if x.ndim != 3 or x.shape[1] < 1:
            raise InputError(f"the input has shape {tuple(x.shape[:-1])} without width, expected (batch, time >= 1)")
        mask = mask_of_new_tokens(attention_mask, x)
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if self.training and any(block.gradient_checkpointing for block in self.layers):
            use_cache = False

        states = None if memory is None else memory.states
        stream, last, states = self._read(x, states, mask, reset)
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self._logits(last[:, keep])  # (batch, kept, vocab)

        if use_cache:
            memory = StateCache() if memory is None else memory
            memory.update(states, positions=x.shape[1])
        loss = None
        if labels is not None:
            counted = {key: kwargs[key] for key in ("num_items_in_batch", "shift_labels") if key in kwargs}
            loss = ForCausalLMLoss(logits, labels, self.config.vocab_size, **counted)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        output = CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=(*stream, last) if output_hidden_states else None,
            **{NAME: memory if use_cache else None},  # type: ignore[arg-type]
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()

    @classmethod
    def from_hf(cls, model: Any) -> SequenceLM:
        """A causal language model of transformers, with its weights, made of this library's layers; see
        :mod:`seqmem.models.from_hf`."""
        from seqmem.models.from_hf import convert

        return convert(model)

    # What transformers asks of a model.

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        is_first_iteration: bool | None = False,
        reset: Tensor | None = None,
        cache: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The unread part of the text. ``reset`` is about the whole prompt; no document begins after it."""
        memory = given_cache(past_key_values, cache)
        if memory is not None and next_sequence_length is not None and next_sequence_length < 1:
            raise InputError(
                f"the cache has read {memory.length} positions and the text has {input_ids.shape[1]}; "
                "give the whole text with at least one token more than the cache has read"
            )
        parent: Any = super()  # its signature is not the same in all versions
        inputs: dict[str, Any] = parent.prepare_inputs_for_generation(
            input_ids,
            next_sequence_length=next_sequence_length,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            **{NAME: memory},
            **kwargs,
        )
        if reset is not None:
            given = inputs["input_ids"] if inputs.get("inputs_embeds") is None else inputs["inputs_embeds"]
            first = memory.length if memory is not None else 0
            last = first + given.shape[1]
            inputs["reset"] = F.pad(reset, (0, max(0, last - reset.shape[1])))[:, first:last]
        return inputs

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """No: :meth:`forward` makes a StateCache itself."""
        return False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """The embedding and an untied head, also those of a resized vocabulary. Layers initialise themselves."""
        if isinstance(module, (nn.Embedding, nn.Linear)) and not getattr(module.weight, "_is_hf_initialized", False):
            module.weight.normal_(std=self.config.initializer_range)

    # ``from_pretrained`` builds a model without memory ("meta") and leaves every buffer that is not saved undefined;
    # layers, ours and yours, compute such buffers in their constructors. So the model is built for real, and what the
    # file does not hold stays as it was built.

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As of transformers. A layer given as ``package.module:ClassName`` is looked up in a module that you have
        imported; a file imports nothing."""
        with nothing_imported():
            return super().from_pretrained(*args, **kwargs)

    @classmethod
    def get_init_context(cls, *args: Any, **kwargs: Any) -> list[Any]:
        contexts = [c for c in super().get_init_context(*args, **kwargs) if c != torch.device("meta")]
        return [*contexts, torch.random.fork_rng(devices=[])]

    def _move_missing_keys_from_meta_to_device(self, missing_keys: Any, *args: Any, **kwargs: Any) -> None:
        kept = {name: self.get_parameter_or_buffer(name).detach().clone() for name in missing_keys}
        kept |= {name: buffer.clone() for name, buffer in self.named_non_persistent_buffers()}
        super()._move_missing_keys_from_meta_to_device(missing_keys, *args, **kwargs)
        with torch.no_grad():
            for name, value in kept.items():
                self.get_parameter_or_buffer(name).copy_(value)


AutoConfig.register("seqmem", SequenceConfig, exist_ok=True)
AutoModelForCausalLM.register(SequenceConfig, SequenceLM, exist_ok=True)


def build(config: SequenceConfig, seed: int | torch.Generator = 0) -> SequenceLM:
    """A new model: the same config and seed give the same weights, and the global random state is left as it was.

    A generator is read once, for the seed.
    """
    if isinstance(seed, torch.Generator):
        seed = int(torch.randint(2**62, (), generator=seed, device=seed.device))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return SequenceLM(config)


def parameter_count(config: SequenceConfig) -> int:
    """Trainable numbers of a model of this config, without building more than one layer of each kind."""
    counts: dict[str, int] = {}
    embeddings = 1 if config.tie_embeddings else 2
    norms = (1 + config.embedding_norm) * (2 if config.norm == "layer" else 1)
    shares = config.perspectives if config.perspectives > 1 else 0
    total = (embeddings * config.vocab_size + config.positions + norms + shares) * config.width  # outside of the layers
    for layer, spec in enumerate(config.layers):
        kind = json.dumps(spec, sort_keys=True)
        if kind not in counts:
            with torch.random.fork_rng(devices=[]):
                counts[kind] = sum(p.numel() for p in Block(config, layer).parameters())
        total += counts[kind]
    return total


def mask_of_new_tokens(attention_mask: Tensor | None, x: Tensor) -> Tensor | None:
    """The last columns of a transformers mask, (batch, time) bool; None when nothing is padding: the faster path."""
    if attention_mask is None:
        return None
    batch, time = x.shape[:2]
    if attention_mask.ndim != 2 or attention_mask.shape[0] != batch or attention_mask.shape[1] < time:
        raise InputError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, expected ({batch}, {time} or more), "
            "0 where a position is padding"
        )
    mask = attention_mask[:, -time:].bool()
    return None if bool(mask.all()) else mask


@contextlib.contextmanager
def _at_least_float32() -> Iterator[torch.dtype]:
    """Yields the default dtype that was in force."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.promote_types(dtype, torch.float32))
    try:
        yield dtype
    finally:
        torch.set_default_dtype(dtype)
