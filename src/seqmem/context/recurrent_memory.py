"""Memory tokens that are passed from segment to segment make any causal language model recurrent.

With segments X_1, X_2, ... of a text and a memory M of m vectors as wide as the embeddings, the unchanged model reads

    [., H_s, M_{s+1}] = model([M_s, X_s, M_s])

and M_1 is learned. The first copy is there to be read from, the second is written to: what the last layer says there is
the memory of the next segment. H_s are the hidden states that predict tokens.

Recurrent Memory Transformer (2022), arXiv 2207.06881.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.modeling_outputs import ModelOutput

from seqmem.context import _backbone
from seqmem.errors import InputError, line_of
from seqmem.loading import parse_json

WEIGHTS, OPTIONS = "recurrent_memory.safetensors", "recurrent_memory.json"


@dataclass
class RecurrentMemoryOutput(ModelOutput):
    """loss: scalar, where labels were given. logits: (batch, time, vocabulary), about the token after each position.
    memory: (batch, tokens, width), what is carried on after the last segment."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    memory: Tensor | None = None


class RecurrentMemory(nn.Module):
    """``RecurrentMemory(model, segment=256)`` around any Hugging Face causal LM that takes ``inputs_embeds``.

    model: is trained with the memory, or frozen (``requires_grad_(False)``): then the memory alone learns.
    segment: tokens of a segment; the last of a text may be shorter, and is written to memory as well. tokens: m; with 0
    every segment is read by itself, the natural baseline. bptt: how many boundaries between segments a gradient may
    cross. None: all; else, counted from the last segment, every (bptt + 1)-th boundary is cut, so that the last
    segment's loss crosses exactly ``bptt`` and none more. attention: among the memory tokens of one copy, "causal" is
    the model's own mask, for any family; "mutual" lets them see each other, as in the paper, and needs a family that
    takes a mask of four dimensions (most that are made of attention). generator: for the first values of M_1, which
    are normal, as large as the embeddings.

    Every segment begins at position 0, so no more than segment + 2 m positions are ever needed. A memory is a plain
    tensor: save it, and read on later by ``wrapped(ids, memory=memory)``; the answer is that of reading all at once
    when what was read before was a whole number of segments.

    Raises InputError for a model that is no causal LM or cannot take embeddings, for too few positions, and for sizes
    that make no sense.

    Example::

        wrapped = RecurrentMemory(AutoModelForCausalLM.from_pretrained("gpt2"), segment=512, tokens=10)
        wrapped(ids, labels=ids).loss.backward()
        text = wrapped.generate(ids, max_new_tokens=100)
    """

    def __init__(
        self,
        model: Any,
        segment: int,
        tokens: int = 10,
        bptt: int | None = None,
        *,
        attention: Literal["causal", "mutual"] = "causal",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (("segment", segment, 1), ("tokens", tokens, 0), ("bptt", bptt, 0)):
            if (value is not None or name != "bptt") and (type(value) is not int or value < least):
                raise InputError(f"RecurrentMemory: {name} is {value!r}, expected a whole number, {least} or more")
        if attention not in ("causal", "mutual"):
            raise InputError(f"RecurrentMemory: attention is {attention!r}, expected 'causal' or 'mutual'")
        weight = _backbone.embeddings(model, "RecurrentMemory", segment + 2 * tokens).weight
        if attention == "mutual" and not _backbone.takes_masks_of_pairs(model, weight.shape[1]):
            raise InputError(
                f"RecurrentMemory: {type(model).__name__} does not obey a mask of four dimensions, which attention="
                "'mutual' needs; take attention='causal'"
            )
        self.model, self.segment, self.tokens, self.bptt, self.attention = model, segment, tokens, bptt, attention
        noise = torch.randn(tokens, weight.shape[1], generator=generator)
        self.memory = nn.Parameter((noise.to(weight) * weight.detach().std()).requires_grad_())  # M_1: (tokens, width)
        self._takes_positions = "position_ids" in _backbone.arguments(model)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        memory: Tensor | None = None,
        only_last: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> RecurrentMemoryOutput:
        """Read a text, segment by segment.

        input_ids: (batch, time). attention_mask: (batch, time), 0 at padding, which stands on the right; a segment that
        is all padding leaves the row's memory as it is. labels: (batch, time), shifted here, also across segments, -100
        where nothing is asked. memory: (batch, tokens, width) to begin with, as an earlier call returned it; the
        learned one by default. only_last: logits of the last segment only, to save memory (not with labels).
        num_items_in_batch: what the loss is divided by, instead of the number of labels.
        """
        mask = self._checked(input_ids, attention_mask, labels, memory)
        if only_last and labels is not None:
            raise InputError("RecurrentMemory: labels need all logits; leave only_last out")
        memory = self._initial(input_ids) if memory is None else memory
        pieces = input_ids.split(self.segment, 1)
        masks = [None] * len(pieces) if mask is None else mask.split(self.segment, 1)
        logits = []
        for s, (ids, real) in enumerate(zip(pieces, masks, strict=True)):
            if s and self.bptt is not None and (len(pieces) - s) % (self.bptt + 1) == 0:
                memory = memory.detach()
            told, memory = self._read(ids, memory, real)
            logits.append(told)
        said = logits[-1] if only_last else torch.cat(logits, 1)  # (batch, time, vocabulary)
        loss = None
        if labels is not None:
            loss = ForCausalLMLoss(said, labels, said.shape[-1], num_items_in_batch=num_items_in_batch)
        return RecurrentMemoryOutput(loss=loss, logits=said, memory=memory)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        max_new_tokens: int,
        *,
        memory: Tensor | None = None,
        do_sample: bool = False,
        logits_processor: Sequence[Callable[[Tensor, Tensor], Tensor]] = (),
        eos_token_id: int | None = None,
        pad_token_id: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The prompts and up to ``max_new_tokens`` more, (batch, time + new); memory is written whenever a segment is
        full. Greedy, or sampled from softmax.

        input_ids: (batch, time), prompts of one length. logits_processor: called as ``processor(ids, scores)`` with all
        tokens so far, as in transformers. Rows that have said ``eos_token_id`` go on with ``pad_token_id`` (by default
        the same), and it ends when all have.
        """
        if type(max_new_tokens) is not int or max_new_tokens < 1:
            raise InputError(f"RecurrentMemory: max_new_tokens is {max_new_tokens!r}, expected 1 or more")
        self._checked(input_ids, None, None, memory)
        memory = self._initial(input_ids) if memory is None else memory
        before = (input_ids.shape[1] - 1) // self.segment * self.segment  # the last segment has 1 to ``segment`` tokens
        if before:
            memory = self(input_ids[:, :before], memory=memory, only_last=True).memory
        reader = _Reader(self, memory)
        logits = reader.read(input_ids[:, before:])
        ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        for _ in range(max_new_tokens):
            scores = logits.float()
            for processor in logits_processor:
                scores = processor(input_ids, scores)
            token = scores.argmax(-1)
            if do_sample:
                token = torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]
            if eos_token_id is not None:
                token = token.masked_fill(ended, eos_token_id if pad_token_id is None else pad_token_id)
                ended = ended | (token == eos_token_id)
            input_ids = torch.cat([input_ids, token[:, None]], 1)
            if ended.all():
                break
            logits = reader.read(token[:, None])
        return input_ids

    def save_pretrained(self, folder: str | Path) -> None:
        """The model as it saves itself, and the memory beside it."""
        self.model.save_pretrained(folder)
        save_file({"memory": self.memory.detach().contiguous()}, str(Path(folder) / WEIGHTS))
        options = {"segment": self.segment, "tokens": self.tokens, "bptt": self.bptt, "attention": self.attention}
        (Path(folder) / OPTIONS).write_text(json.dumps(options), "utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path, model: Any = None, **options: Any) -> RecurrentMemory:
        """What ``save_pretrained`` wrote. model: by default what AutoModelForCausalLM makes of the folder. options:
        to be changed, such as ``segment``."""
        if not (Path(folder) / OPTIONS).is_file():
            raise InputError(f"'{folder}' has no {OPTIONS}; give a folder that RecurrentMemory.save_pretrained wrote")
        try:
            saved = parse_json((Path(folder) / OPTIONS).read_bytes())
            saved = {name: saved[name] for name in ("segment", "tokens", "bptt", "attention")}
            weights = load_file(str(Path(folder) / WEIGHTS))["memory"]
        except Exception as error:  # of safetensors, or of a file that holds something else
            text = line_of(error)
            raise InputError(
                f"'{folder}' holds no whole memory ({type(error).__name__}: {text}); save it again"
            ) from error
        model = AutoModelForCausalLM.from_pretrained(folder) if model is None else model
        made = cls(model, **{**saved, **options})
        if made.memory.shape != weights.shape:
            shapes = f"{tuple(weights.shape)}, the model needs {tuple(made.memory.shape)}"
            raise InputError(f"RecurrentMemory: the memory in '{folder}' is {shapes}; leave tokens out")
        with torch.no_grad():
            made.memory.copy_(weights)
        return made

    def _initial(self, input_ids: Tensor) -> Tensor:
        return self.memory.expand(len(input_ids), -1, -1)  # (batch, tokens, width)

    def _read(self, ids: Tensor, memory: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """One segment: logits (batch, time, vocabulary) and the next memory. real: (batch, time), False at padding."""
        m, time = self.tokens, ids.shape[1]
        x = torch.cat([memory, self.model.get_input_embeddings()(ids), memory], 1)  # (batch, m + time + m, width)
        options: dict[str, Any] = {}
        seen = None
        if real is not None and not real.all():
            always = real.new_ones(len(real), m)
            seen = torch.cat([always, real, always], 1)
            if self._takes_positions:  # padding takes none
                options["position_ids"] = (seen.long().cumsum(1) - 1).clamp(min=0)
        logits, hidden, _ = self._run(x, self._mask(seen, x, m + time), **options)
        written = hidden[:, m + time :]
        if seen is not None and real is not None:
            written = torch.where(real.any(1)[:, None, None], written, memory)
        return logits[:, m : m + time], written

    def _mask(self, seen: Tensor | None, x: Tensor, write: int, past: int = 0) -> Tensor | None:
        """The attention mask for the positions ``x`` after ``past`` others, of which those from ``write`` on and the
        first m are memory. seen: (batch, time), False at padding."""
        if self.attention == "causal" or self.tokens == 0:
            return None if seen is None else seen.long()
        at = torch.arange(past + x.shape[1], device=x.device)
        block = (at < self.tokens).long() + 2 * (at >= write).long()
        visible = (at[past:, None] >= at) | ((block[past:, None] == block) & (block > 0))
        visible = visible[None, None].expand(len(x), 1, -1, -1)  # (batch, 1, time, past + time)
        if seen is not None:
            visible = visible & seen[:, None, None]
        return torch.zeros_like(visible, dtype=x.dtype).masked_fill(~visible, torch.finfo(x.dtype).min)

    def _run(
        self, x: Tensor, mask: Tensor | None, cache: Any = None, use_cache: bool = False, **options: Any
    ) -> tuple[Tensor, Tensor, Any]:
        """The wrapped model on embeddings: logits, last hidden states in the memory's dtype, and its cache."""
        if cache is not None:
            options["past_key_values"] = cache
        if mask is not None:
            options["attention_mask"] = mask
        out = self.model(inputs_embeds=x, use_cache=use_cache, output_hidden_states=True, return_dict=True, **options)
        hidden = out.hidden_states[-1] if out.get("hidden_states") else None
        if hidden is None or hidden.shape != x.shape:
            shape = "none" if hidden is None else f"hidden states {tuple(hidden.shape)}"
            raise InputError(
                f"RecurrentMemory: {type(self.model).__name__} gave {shape} for embeddings {tuple(x.shape)}; what "
                "is written must be fit to be read, choose a family where both are of one width"
            )
        return out.logits, hidden.to(x.dtype), out.get("past_key_values")

    def _checked(
        self, input_ids: Tensor, attention_mask: Tensor | None, labels: Tensor | None, memory: Tensor | None
    ) -> Tensor | None:
        """The mask as bool, or None when nothing is padding."""
        if input_ids.ndim != 2 or 0 in input_ids.shape:
            raise InputError(f"RecurrentMemory: input_ids is {tuple(input_ids.shape)}, expected (batch, time >= 1)")
        for name, given in (("attention_mask", attention_mask), ("labels", labels)):
            if given is not None and given.shape != input_ids.shape:
                shapes = f"{tuple(given.shape)}, expected {tuple(input_ids.shape)} as input_ids"
                raise InputError(f"RecurrentMemory: {name} is {shapes}")
        right = (len(input_ids), *self.memory.shape)
        if memory is not None and memory.shape != right:
            raise InputError(f"RecurrentMemory: memory is {tuple(memory.shape)}, expected {right}")
        if attention_mask is None or bool(attention_mask.all()):
            return None
        mask = attention_mask.bool()
        if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
            raise InputError("RecurrentMemory: attention_mask has padding before a token; pad texts on the right")
        return mask


class _Reader:
    """One segment after another, a few tokens at a time, with the model's own cache where it has one."""

    def __init__(self, wrapped: RecurrentMemory, memory: Tensor) -> None:
        self.wrapped, self.memory = wrapped, memory
        self.cache: Any = None
        self.so_far = memory  # embeddings since the segment began: (batch, m + time, width)

    def read(self, ids: Tensor) -> Tensor:
        """Logits after these tokens, (batch, vocabulary); they must fit into the segment, or begin the next one."""
        m = self.wrapped.tokens
        if self.so_far.shape[1] == m + self.wrapped.segment:
            if m:
                self.memory = self._run(self.memory)[1][:, -m:]
            self.cache, self.so_far = None, self.memory
        return self._run(self.wrapped.model.get_input_embeddings()(ids))[0][:, -1]

    def _run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (batch, some, width), which goes after what was read before."""
        m = self.wrapped.tokens
        writes = self.so_far.shape[1] == m + self.wrapped.segment
        past = self.so_far.shape[1] if self.cache is not None else 0
        self.so_far = torch.cat([self.so_far, x], 1)
        new = self.so_far[:, past:]
        mask = self.wrapped._mask(None, new, m + self.wrapped.segment if writes else self.so_far.shape[1], past)
        logits, hidden, self.cache = self.wrapped._run(new, mask, self.cache, use_cache=True)
        return logits, hidden
