"""A language model of characters whose memory is two LSTMs and a window of what they said.

    f_t = [e_t ; h1_t ; h2_t]        e_t = E x_t,  h1 = LSTM(e),  h2 = LSTM(h1)
    p(x_{t+1}) = softmax(W sum_j a_tj f_j + b)        a_tj = softmax_j(w . f_j) over the last ``window`` j <= t

This is the network of textgenrnn (Max Woolf, 2017), whose weights ``seqmem assets fetch textgenrnn`` gets. There, every
prediction starts the LSTMs anew at the beginning of the window; here they read on, so that the state carries from the
first character to the last. :meth:`CharLSTM.windowed_logits` is the network as published.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.modeling_outputs import CausalLMOutputWithPast

from seqmem.errors import InputError
from seqmem.models.cache import NAME, StateCache, given_cache
from seqmem.models.language_model import mask_of_new_tokens
from seqmem.ops.lstm import LSTMState, lstm

_CHUNK = 512  # positions whose windows are weighted at a time


class CharLSTMConfig(PreTrainedConfig):
    """vocab_size, embedding and hidden widths, and the number of positions that attention covers. Token 0 is padding:
    what lies before the first character."""

    model_type = "seqmem_char_lstm"

    def __init__(
        self,
        vocab_size: int = 465,
        embedding: int = 100,
        hidden: int = 128,
        window: int = 40,
        use_cache: bool = True,
        **kwargs: Any,
    ) -> None:
        for name, value in {"vocab_size": vocab_size, "embedding": embedding, "hidden": hidden}.items():
            if value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        if window < 2:
            raise InputError(f"window is {window}, expected at least 2")
        self.vocab_size, self.embedding, self.hidden, self.window = vocab_size, embedding, hidden, window
        self.use_cache = use_cache
        super().__init__(**{"pad_token_id": 0, "tie_word_embeddings": False} | kwargs)

    @property
    def hidden_size(self) -> int:
        """The width of f."""
        return self.embedding + 2 * self.hidden


class CharState(NamedTuple):
    """Everything remembered: the two LSTMs and the features of the last ``window - 1`` positions."""

    lower: LSTMState  # hidden and cell, (batch, hidden) each
    upper: LSTMState
    features: Tensor  # (batch, window - 1, embedding + 2 * hidden), oldest first


class _Layer(nn.Module):
    """One LSTM: what the input gives to i, f, g and o, and the recurrent weights."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.input = nn.Linear(width, 4 * hidden)
        self.recurrent = nn.Linear(hidden, 4 * hidden, bias=False)

    def forward(self, x: Tensor, state: LSTMState | None, mask: Tensor | None) -> tuple[Tensor, LSTMState]:
        return lstm(self.input(x), self.recurrent.weight, state, mask=mask)


class CharLSTM(PreTrainedModel, GenerationMixin):
    """``CharLSTM(CharLSTMConfig())``. :meth:`run` is a pure function of tokens and state; :meth:`forward` the
    transformers call around it, for ``generate`` and everything else that takes a causal language model."""

    config_class = CharLSTMConfig
    _is_stateful = True
    _no_split_modules = ["_Layer"]  # noqa: RUF012 - the base class declares it

    def __init__(self, config: CharLSTMConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding)
        self.lower = _Layer(config.embedding, config.hidden)
        self.upper = _Layer(config.hidden, config.hidden)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def initial_state(self, batch_size: int) -> CharState:
        """After ``window - 1`` positions of padding, as the published model begins."""
        pad = torch.zeros(batch_size, self.config.window - 1, dtype=torch.long, device=self.device)
        features, lower, upper = self._read(pad, None, None, None)
        return CharState(lower, upper, features)

    def run(
        self, input_ids: Tensor, state: CharState | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, CharState]:
        """``logits, state = model.run(input_ids, state)``.

        input_ids: (batch, time) int64. state: as returned by an earlier call; None: nothing read yet. mask: (batch,
        time) bool, False at padding, which is neither written nor read. Returns logits (batch, time, vocab_size), about
        the token after each position.
        """
        if input_ids.ndim != 2 or input_ids.shape[1] < 1:
            raise InputError(f"input_ids has shape {tuple(input_ids.shape)}, expected (batch, time >= 1)")
        state = self.initial_state(input_ids.shape[0]) if state is None else state
        new, lower, upper = self._read(input_ids, state.lower, state.upper, mask)
        features = torch.cat([state.features, new], 1)  # (batch, window - 1 + time, width)
        order = None
        if mask is not None:  # padding goes to the front, out of every window
            order = F.pad(mask, (self.config.window - 1, 0), value=True).long().argsort(dim=1, stable=True)
            features = features.gather(1, order[..., None].expand_as(features))
        read = self._weighted(features)  # (batch, time, width)
        if order is not None:
            place = order.argsort(1)[:, self.config.window - 1 :] - (self.config.window - 1)
            read = read.gather(1, place.clamp(min=0)[..., None].expand_as(read))
        last = features[:, features.shape[1] - (self.config.window - 1) :]
        return self.lm_head(read), CharState(lower, upper, last)

    def attention(self, input_ids: Tensor) -> Tensor:
        """How much the prediction after position t takes from the features at j, (batch, 1, time, window - 1 + time):
        the first ``window - 1`` columns are the padding before the text."""
        state = self.initial_state(input_ids.shape[0])
        new, *_ = self._read(input_ids, state.lower, state.upper, None)
        return self._weights(torch.cat([state.features, new], 1))[:, None]

    def windowed_logits(self, input_ids: Tensor) -> Tensor:
        """Logits (batch, time, vocab_size) of the network as published: for every position the LSTMs start from zero
        and read its last ``window`` characters, padded in front. ``window`` times the work of :meth:`run`."""
        window = self.config.window
        rows = F.pad(input_ids, (window - 1, 0)).unfold(1, window, 1)  # (batch, time, window)
        features, *_ = self._read(rows.reshape(-1, window), None, None, None)
        weights = self.score(features).softmax(1)  # (batch * time, window, 1)
        return self.lm_head((weights * features).sum(1)).unflatten(0, input_ids.shape)

    def _read(
        self, input_ids: Tensor, lower: LSTMState | None, upper: LSTMState | None, mask: Tensor | None
    ) -> tuple[Tensor, LSTMState, LSTMState]:
        """f (batch, time, width) and the states of the two LSTMs."""
        e = self.embed_tokens(input_ids)
        h1, lower = self.lower(e, lower, mask)
        h2, upper = self.upper(h1, upper, mask)
        return torch.cat([e, h1, h2], -1), lower, upper

    def _weights(self, features: Tensor) -> Tensor:
        """a (batch, time, window - 1 + time) of features (batch, window - 1 + time, width)."""
        window = self.config.window
        positions = features.shape[1]
        distance = torch.arange(window - 1, positions, device=features.device)[:, None] - torch.arange(
            positions, device=features.device
        )
        scores = self.score(features).mT.expand(-1, positions - window + 1, -1)
        return scores.masked_fill((distance < 0) | (distance >= window), -torch.inf).softmax(-1)

    def _weighted(self, features: Tensor) -> Tensor:
        """sum_j a_tj f_j, (batch, time, width), a piece of the text at a time: linear in its length."""
        before, pieces = self.config.window - 1, []
        for start in range(0, features.shape[1] - before, _CHUNK):
            piece = features[:, start : start + before + _CHUNK]
            pieces.append(self._weights(piece) @ piece)
        return torch.cat(pieces, 1)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        past_key_values: StateCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool | None = None,
        cache: StateCache | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast | tuple[Any, ...]:
        """The transformers call.

        input_ids: (batch, time). attention_mask: (batch, at least time), 0 at padding. labels: (batch, time), shifted
        here, -100 where nothing is asked. past_key_values, or cache: a :class:`StateCache`, updated in place, whose
        ``states[0]`` is a :class:`CharState`. logits_to_keep: only the last so many, 0: all.
        """
        if input_ids is None:
            raise InputError("input_ids is missing; a CharLSTM reads tokens, not embeddings")
        memory = given_cache(past_key_values, cache)
        mask = mask_of_new_tokens(attention_mask, input_ids)
        state: Any = None if memory is None or memory.states is None else memory.states[0]
        logits, state = self.run(input_ids, state, mask=mask)
        if self.config.use_cache if use_cache is None else use_cache:
            memory = StateCache() if memory is None else memory
            memory.update((state,), positions=input_ids.shape[1])
        loss = None if labels is None else ForCausalLMLoss(logits, labels, self.config.vocab_size)
        output = CausalLMOutputWithPast(loss=loss, logits=logits[:, -logits_to_keep:], **{NAME: memory})  # type: ignore[arg-type]
        return output if return_dict is None or return_dict else output.to_tuple()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """No: :meth:`forward` makes a StateCache itself."""
        return False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Uniform, as torch's own LSTM begins."""
        for weight in module.parameters(recurse=False):
            if not getattr(weight, "_is_hf_initialized", False):
                weight.uniform_(-(self.config.hidden**-0.5), self.config.hidden**-0.5)


AutoConfig.register("seqmem_char_lstm", CharLSTMConfig, exist_ok=True)
AutoModelForCausalLM.register(CharLSTMConfig, CharLSTM, exist_ok=True)
