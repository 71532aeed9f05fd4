"""The LSTM with peephole connections. Learning Precise Timing with LSTM Recurrent Networks (2002), JMLR 3."""

from __future__ import annotations

from seqmem.mixers.lstm_odyssey import OdysseyLSTM


class PeepholeLSTM(OdysseyLSTM):
    """An LSTM whose gates see the cell: i and f see c_{t-1}, o sees c_t (Learning Precise Timing with LSTM Recurrent
    Networks, 2002, Journal of Machine Learning Research 3).

    i = sigmoid(W_i x_t + R_i y_{t-1} + p_i * c_{t-1} + b_i), f likewise, c_t = f * c_{t-1} + i * tanh(W_z x_t + R_z
    y_{t-1} + b_z), o = sigmoid(W_o x_t + R_o y_{t-1} + p_o * c_t + b_o), y_t = o * tanh(c_t).

    The cell of :class:`seqmem.mixers.lstm_odyssey.OdysseyLSTM`, with the forget gate open at the start; ``hidden``,
    ``forget_bias`` and the forms are described there.
    """

    def __init__(self, width: int, *, hidden: int | None = None, forget_bias: float = 1.0) -> None:
        super().__init__(width, hidden=hidden, forget_bias=forget_bias)
