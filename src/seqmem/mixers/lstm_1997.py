"""The first LSTM, which cannot forget. Long Short-Term Memory (1997), Neural Computation 9."""

from __future__ import annotations

from seqmem.mixers.lstm_odyssey import OdysseyLSTM


class LSTM1997(OdysseyLSTM):
    """The LSTM before there were forget gates: what is in the cell stays there (Long Short-Term Memory, 1997, Neural
    Computation 9).

    c_t = c_{t-1} + i * tanh(W_z x_t + R_z y_{t-1} + b_z) and y_t = o * tanh(c_t), where i and o are sigmoid(W x_t + R
    y_{t-1} + b), each with weights of its own. The paper's squashing functions are 4 sigmoid(a) - 2 = 2 tanh(a / 2) at
    the input and 2 sigmoid(c) - 1 = tanh(c / 2) at the output: the same function of x, with c counted in halves and
    W_z, R_z, b_z half as large.

    The cell of :class:`seqmem.mixers.lstm_odyssey.OdysseyLSTM` without forget gate and peepholes; ``hidden`` and the
    forms are described there. The cell is a sum over all that was read: a long text may drive it far.
    """

    def __init__(self, width: int, *, hidden: int | None = None) -> None:
        super().__init__(width, hidden=hidden, forget_gate=False, peepholes=False)
