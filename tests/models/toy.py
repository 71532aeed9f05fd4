"""Small layers that keep the contract plainly: a growing state, a bare-tensor state, one with awkward buffers."""

import torch
from torch import nn


class Attention(nn.Module):
    """One head without positions. State: (keys, values, alive); alive is False at padding and before the last reset."""

    memory = "linear"

    def __init__(self, width, scale=1.0):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.scale = scale * width**-0.5

    def forward(self, x, state=None, *, mask=None, reset=None):
        batch, time, width = x.shape
        if state is None:
            state = (x.new_zeros(batch, 0, width), x.new_zeros(batch, 0, width), x.new_zeros(batch, 0).bool())
        keys, values, alive = state
        past = alive.shape[1]
        new = x.new_ones(batch, time).bool() if mask is None else mask
        keys, values = torch.cat([keys, self.k(x)], 1), torch.cat([values, self.v(x)], 1)
        seen = torch.cat([alive, new], 1)[:, None, :].expand(batch, time, past + time)  # (batch, query, key)
        seen = seen & torch.ones(time, past + time, device=x.device).tril(past).bool()
        document = x.new_zeros(batch, past + time)
        if reset is not None:
            document[:, past:] = reset.cumsum(1)
            seen = seen & (document[:, past:, None] == document[:, None, :])
        scores = (self.scale * self.q(x) @ keys.mT).masked_fill(~seen, -1e9)
        alive = torch.cat([alive, new], 1) & (document == document[:, -1:])
        return scores.softmax(-1) @ values, (keys, values, alive)


class Average(nn.Module):
    """An exponential average with a learned decay. State: one tensor (batch, width)."""

    memory = "constant"

    def __init__(self, width, decay=0.8):
        super().__init__()
        self.decay = nn.Parameter(torch.full((width,), decay))
        self.out = nn.Linear(width, width)
        nn.init.constant_(self.out.bias, 0.125)  # an initialisation of its own, to be kept

    def forward(self, x, state=None, *, mask=None, reset=None):
        state = torch.zeros_like(x[:, 0]) if state is None else state
        ys = []
        for t in range(x.shape[1]):
            if reset is not None:
                state = torch.where(reset[:, t, None], 0, state)
            new = self.decay * state + (1 - self.decay) * x[:, t]
            state = new if mask is None else torch.where(mask[:, t, None], new, state)
            ys.append(state)
        return self.out(torch.stack(ys, 1)), state


class Buffered(Average):
    """Buffers computed in the constructor, not saved, some through Python numbers and NumPy."""

    def __init__(self, width):
        super().__init__(width)
        angles = torch.arange(width) / width
        self.register_buffer("angles", angles.cos(), persistent=False)
        self.register_buffer("order", torch.from_numpy(torch.randperm(width).numpy()), persistent=True)
        self.register_buffer("gain", torch.tensor(1 + angles.sum().item()), persistent=False)
        self.constant = angles.sin()  # not even a buffer

    def forward(self, x, state=None, *, mask=None, reset=None):
        x = x[..., self.order] * self.angles * self.gain + self.constant.to(x.dtype)
        return super().forward(x, state, mask=mask, reset=reset)


class NotALayer:
    pass
