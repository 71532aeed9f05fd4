"""Routing attention: a query meets the keys of its cluster.  c(x) = argmax_c <x / |x|, mu_c>,

y_t = sum_j softmax_j(q_t . k_j / sqrt(head)) v_j  over the latest ``window`` keys with c(k_j) = c(q_t),  j <= t.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmem.errors import InputError
from seqmem.mixers._packing import check_state, one_at_a_time
from seqmem.mixers._softmax import softmax_over
from seqmem.mixers.base import Mixer, split_heads
from seqmem.mixers.local_attention import LocalAttention

NO_CLUSTER, SELF = -1, -1e4  # SELF: added to a shared key's score with its own query


class RoutingState(NamedTuple):
    """local: the local heads' state, () without any. key, value: (batch, heads, clusters, window, head), each cluster's
    latest, at the right end; there: (batch, heads, clusters, window) bool.
    """

    local: Any
    key: Tensor
    value: Tensor
    there: Tensor


class Memory(NamedTuple):
    """Entries, old and new, as a flat list in order of time. key, value: (batch, heads, entries, head); cluster:
    (batch, heads, entries) int64, counted on from document to document, -1 where nothing is.
    """

    key: Tensor
    value: Tensor
    cluster: Tensor


class RoutingTransformer(Mixer):
    """Sparse attention by online k-means (Efficient Content-Based Sparse Attention with Routing Transformers, 2021,
    arXiv 2003.05997): ``heads`` routing heads beside ``local_heads`` that see the last ``window`` positions.

    Each routing head has ``clusters`` centroids mu on the unit sphere. ``shared``: queries serve as keys, and a
    position reads itself only where nothing else is in sight; else keys have a map of their own. ``norm``: queries and
    keys are normalised to mean 0 and variance 1 in every head, without scale or bias. Routing heads know no positions.

    ``selection="latest"`` (default) holds the contract: a position belongs to its nearest centroid, which depends on it
    alone, and of a cluster the latest ``window`` members are read. ``selection="top"`` is the paper's: of the whole
    call every centroid takes the ``window`` positions that are most similar to it, a position may be in several
    clusters (the mean is taken) or in none (zero is read). Within a cluster no position sees a later one, but who is in
    it depends on later positions, by which the future leaks: such a layer says ``causal = False``, reads a sequence in
    one call, and is not for generation.

    Centroids are buffers and get no gradient. In training mode every call with gradients moves them, after it has read,
    towards the means of what was routed to them: mu <- ``decay`` mu + (1 - ``decay``) mean, normalised; the paper takes
    sums. ``decay=1`` leaves them where they are, which gradient checkpointing, where a call is made twice, needs.
    :meth:`commitment` is the paper's loss that holds queries and keys to their centroids; add it, times 1e-4, to yours.

    State: the latest ``window`` members of every cluster and the local heads' window: constant. form: "parallel" costs
    time * window, "recurrent" is one position at a time; "auto" is "parallel".
    """

    memory: ClassVar[str] = "constant"
    centroids: Tensor

    def __init__(
        self,
        width: int,
        *,
        heads: int = 2,
        local_heads: int = 2,
        clusters: int = 8,
        window: int = 32,
        shared: bool = True,
        norm: bool = True,
        selection: str = "latest",
        decay: float = 0.999,
    ) -> None:
        super().__init__(width)
        if heads < 1 or local_heads < 0 or clusters < 1 or window < 1:
            raise InputError(
                f"RoutingTransformer: {heads} heads, {local_heads} local heads, {clusters} clusters, window {window}; "
                "expected at least 1, 0, 1 and 1"
            )
        if selection not in ("latest", "top"):
            raise InputError(f"RoutingTransformer: selection is {selection!r}, expected 'latest' or 'top'")
        if not 0 <= decay <= 1:
            raise InputError(f"RoutingTransformer: decay is {decay!r}, expected a number from 0 to 1")
        self.head = split_heads(width, heads + local_heads, "RoutingTransformer")
        self.heads, self.clusters, self.window = heads, clusters, window
        self.shared, self.norm, self.selection, self.decay = shared, norm, selection, decay
        self.causal = selection == "latest"  # type: ignore[misc] # a promise of the class, which the option takes back
        self.local = LocalAttention(width, window=window, heads=local_heads, head=self.head) if local_heads else None
        self.maps = nn.Linear(width, (2 if shared else 3) * heads * self.head, bias=False)
        self.out = nn.Linear(heads * self.head, width, bias=False)
        self.register_buffer("centroids", F.normalize(torch.randn(heads, clusters, self.head), dim=-1))

    def initial_state(self, batch_size: int) -> RoutingState:
        """Nothing was read."""
        empty = self.out.weight.new_zeros(batch_size, self.heads, self.clusters, self.window, self.head)
        local = () if self.local is None else self.local.initial_state(batch_size)
        return RoutingState(local, empty, empty, torch.zeros_like(empty[..., 0], dtype=torch.bool))

    def forward(
        self,
        x: Tensor,
        state: RoutingState | None = None,
        *,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        form: str = "auto",
    ) -> tuple[Tensor, RoutingState]:
        """(y (batch, time, width), state); the arguments are described in :mod:`seqmem.mixers.base`."""
        self.check_input(x, mask, reset, form)
        check_state(state, x, "RoutingTransformer")
        if not self.causal and (state is not None or form == "recurrent"):
            raise InputError(
                "RoutingTransformer: selection='top' was given a part of a sequence, expected the whole in one call; "
                "use selection='latest' to read on from a state"
            )
        if form == "recurrent":
            return one_at_a_time(self, x, state, mask, reset)
        state = self.initial_state(len(x)) if state is None else state
        x = x if mask is None else x.masked_fill(~mask[..., None], 0)
        query, key, value = self._projected(x)
        document = _documents(x, reset)
        if self.causal:
            memory = self._memory(state, key, value, document, mask)
            index, seen = self._latest(query, memory, document)
            read = self._read(query, memory, index, seen)
            state = self._kept(state, memory, document)
        else:
            read = torch.einsum("bhtj,bhjd->bhtd", self._top(query, key, document, mask), value)
        y = self.out(read.transpose(1, 2).flatten(2).to(self.out.weight.dtype))
        if self.local is not None:
            more, local = self.local(x, state.local, mask=mask, reset=reset)
            y, state = y + more, state._replace(local=local)
        if self.training and torch.is_grad_enabled() and self.decay < 1:
            self._learn(query, key, mask)
        return y, state

    def attention(self, x: Tensor, *, mask: Tensor | None = None, reset: Tensor | None = None) -> Tensor:
        """The weights (batch, heads, time, time) from an empty state, those of the local heads behind the others'."""
        self.check_input(x, mask, reset, "auto")
        x = x if mask is None else x.masked_fill(~mask[..., None], 0)
        query, key, value = self._projected(x)
        document = _documents(x, reset)
        if self.causal:
            memory = self._memory(None, key, value, document, mask)
            index, seen = self._latest(query, memory, document)
            weights = query.new_zeros(*query.shape[:3], x.shape[1])
            weights = weights.scatter_add(3, index, self._weights(query, memory, index, seen))
        else:
            weights = self._top(query, key, document, mask)
        if self.local is None:
            return weights
        return torch.cat([weights, self.local.attention(x, mask=mask, reset=reset)], 1)

    def read(self, x: Tensor, attention: Tensor) -> Tensor:
        """y (batch, time, width): what is read through the weights (batch, heads, time, time), values from x."""
        routed, local = attention[:, : self.heads], attention[:, self.heads :]
        y = self.out((routed @ self._projected(x)[2]).transpose(1, 2).flatten(2))
        return y if self.local is None else y + self.local.read(x, local)

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The clusters of queries and of keys, (batch, heads, time) int64 each, for x (batch, time, width)."""
        query, key, _ = self._projected(x)
        return self._cluster(query), self._cluster(key)

    def commitment(self, x: Tensor) -> Tensor:
        """Mean square distance of queries and keys, of unit length, to their centroids."""
        query, key, _ = self._projected(x)
        both = F.normalize(torch.cat([query, key], 2), dim=-1)
        return F.mse_loss(both, self._centroid(self._cluster(both)))

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (batch, heads, time, head)."""
        parts = self.maps(x).unflatten(-1, (-1, self.heads, self.head)).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[-2], parts[-1]
        if self.norm:
            query, key = (F.layer_norm(part, (self.head,)) for part in (query, key))
        return query, key, value

    def _cluster(self, x: Tensor) -> Tensor:
        """The nearest centroid of x (batch, heads, time, head)."""
        return torch.einsum("bhtd,hcd->bhtc", x, self.centroids.to(x.dtype)).argmax(-1)

    def _centroid(self, cluster: Tensor) -> Tensor:
        head = torch.arange(self.heads, device=cluster.device)[:, None]
        return self.centroids[head, cluster]

    # The latest members of a cluster.

    def _memory(
        self, state: RoutingState | None, key: Tensor, value: Tensor, document: Tensor, mask: Tensor | None
    ) -> Memory:
        cluster = self._cluster(key) + self.clusters * document[:, None]
        if mask is not None:
            cluster = cluster.masked_fill(~mask[:, None], NO_CLUSTER)
        if state is None:
            return Memory(key, value, cluster)
        number = torch.arange(self.clusters, device=key.device)[:, None]
        old = number.where(state.there, NO_CLUSTER).flatten(2)
        parts = zip((state.key, state.value), (key, value), strict=True)
        keys, values = (torch.cat([before.flatten(2, 3), new.to(before.dtype)], 2) for before, new in parts)
        return Memory(keys, values, torch.cat([old, cluster], 2))

    def _latest(self, query: Tensor, memory: Memory, document: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the entries that a query meets and whether they are there, (batch, heads, time, window) each."""
        time, entries = query.shape[2], memory.cluster.shape[2]
        wanted = self._cluster(query) + self.clusters * document[:, None]
        until = torch.arange(entries - time, entries, device=query.device)
        return self._members(memory, wanted, until.expand_as(wanted))

    def _members(self, memory: Memory, cluster: Tensor, until: Tensor) -> tuple[Tensor, Tensor]:
        """The latest ``window`` entries of ``cluster`` up to the entry ``until``, both (batch, heads, n)."""
        entries = memory.cluster.shape[2]
        at = torch.arange(entries, device=cluster.device)
        order = memory.cluster.argsort(dim=2, stable=True)  # by cluster, then by time
        ranked = (memory.cluster * entries + at).gather(2, order)
        last = torch.searchsorted(ranked, cluster * entries + until, right=True) - 1
        place = last[..., None] - torch.arange(self.window - 1, -1, -1, device=cluster.device)
        index = order.gather(2, place.clamp_min(0).flatten(2)).view_as(place)
        found = memory.cluster.gather(2, index.flatten(2)).view_as(index)
        return index, (place >= 0) & (found == cluster[..., None])

    def _weights(self, query: Tensor, memory: Memory, index: Tensor, seen: Tensor) -> Tensor:
        """(batch, heads, time, window)."""
        key = _taken(memory.key, index).to(query.dtype)
        score = torch.einsum("bhtd,bhtwd->bhtw", query, key) * self.head**-0.5
        if self.shared:
            time, entries = query.shape[2], memory.cluster.shape[2]
            own = torch.arange(entries - time, entries, device=query.device)[:, None]
            score = score + SELF * (index == own)
        return softmax_over(score, seen)

    def _read(self, query: Tensor, memory: Memory, index: Tensor, seen: Tensor) -> Tensor:
        weights = self._weights(query, memory, index, seen)
        return torch.einsum("bhtw,bhtwd->bhtd", weights, _taken(memory.value, index).to(weights.dtype))

    def _kept(self, state: RoutingState, memory: Memory, document: Tensor) -> RoutingState:
        """Each cluster's latest members in the document that is being read."""
        number = torch.arange(self.clusters, device=document.device)
        cluster = (number + self.clusters * document[:, -1:])[:, None].expand(-1, self.heads, -1)
        until = torch.full_like(cluster, memory.cluster.shape[2] - 1)
        index, there = self._members(memory, cluster, until)
        key, value = (_taken(part, index).masked_fill(~there[..., None], 0) for part in memory[:2])
        return RoutingState(state.local, key, value, there)

    # The most similar positions of the whole call.

    def _top(self, query: Tensor, key: Tensor, document: Tensor, mask: Tensor | None) -> Tensor:
        """The weights (batch, heads, time, time), a mean over a query's clusters."""
        time = query.shape[2]
        count = min(self.window, time)

        def members(x: Tensor) -> Tensor:  # (batch, heads, cluster, count), in order of time
            near = torch.einsum("bhtd,hcd->bhct", F.normalize(x, dim=-1), self.centroids.to(x.dtype))
            if mask is not None:
                near = near.masked_fill(~mask[:, None, None], -torch.inf)
            return near.topk(count).indices.sort(-1).values

        asking, asked = members(query), members(key)
        real = torch.ones_like(document, dtype=torch.bool) if mask is None else mask
        row = torch.arange(len(query), device=query.device)[:, None, None, None]

        def of(flags: Tensor, index: Tensor) -> Tensor:
            return flags[row, index]

        seen = (asking[..., None] >= asked[..., None, :]) & of(real, asked)[..., None, :]
        seen = seen & (of(document, asking)[..., None] == of(document, asked)[..., None, :])
        score = torch.einsum("bhcid,bhcjd->bhcij", _taken(query, asking), _taken(key, asked)) * self.head**-0.5
        if self.shared:
            score = score + SELF * (asking[..., None] == asked[..., None, :])
        weights = softmax_over(score.flatten(2, 3), seen.flatten(2, 3)).view_as(score)
        flat = (asking[..., None] * time + asked[..., None, :]).flatten(2)
        total = query.new_zeros(*query.shape[:2], time * time).scatter_add(2, flat, weights.flatten(2))
        times = query.new_zeros(query.shape[:3]).scatter_add(2, asking.flatten(2), seen.any(-1).to(query).flatten(2))
        return total.unflatten(2, (time, time)) / times.clamp_min(1)[..., None]

    @torch.no_grad()
    def _learn(self, query: Tensor, key: Tensor, mask: Tensor | None) -> None:
        """One step of online k-means."""
        x = query if self.shared else torch.cat([query, key], 2)
        x = F.normalize(x, dim=-1).to(self.centroids.dtype)  # (batch, heads, n, head)
        member = F.one_hot(self._cluster(x), self.clusters).to(x.dtype)
        if mask is not None:
            member = member * mask.repeat(1, x.shape[2] // mask.shape[1])[:, None, :, None]
        count = member.sum((0, 2))[..., None]  # (heads, clusters, 1)
        mean = torch.einsum("bhtc,bhtd->hcd", member, x) / count.clamp_min(1)
        moved = F.normalize(self.decay * self.centroids + (1 - self.decay) * mean, dim=-1)
        self.centroids = torch.where(count > 0, moved, self.centroids)


def _documents(x: Tensor, reset: Tensor | None) -> Tensor:
    """(batch, time) int64: which document of the call each position belongs to."""
    return torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device) if reset is None else reset.cumsum(1)


def _taken(x: Tensor, index: Tensor) -> Tensor:
    """x (batch, heads, entries, head) at ``index`` (batch, heads, n, m): (batch, heads, n, m, head)."""
    batch, heads, entries = x.shape[:3]
    row = torch.arange(batch * heads, device=x.device).view(batch, heads, 1, 1) * entries
    return x.flatten(0, 2).index_select(0, (row + index).flatten()).unflatten(0, index.shape)
