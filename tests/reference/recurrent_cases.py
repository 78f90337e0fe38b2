"""Recurrent layers that are recorded from Keras and compared with it. `k` is either `keras`."""

import numpy as np


def _numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = _numbers(1, 3, 5, 4)
STATE, CELL = _numbers(2, 3, 6), _numbers(3, 3, 6)
SEEN = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [1, 1, 1, 1, 1]], bool)
IDS = np.array([[1, 4, 0, 0], [2, 3, 4, 0], [4, 4, 1, 2]], np.int32)


def _call(layer, x, **keywords):
    return layer(x[0], **keywords)


def _from_states(layer, x, **keywords):
    return layer(x[0], initial_state=list(x[1:]), **keywords)


def _twice(layer, x, **keywords):
    """A stateful layer goes on from where it was."""
    for v in layer.states if isinstance(layer.states, list | tuple) else []:
        v.assign(v * 0.0)
    layer(x[0], **keywords)
    return layer(x[0], **keywords)


ALL = {"return_sequences": True, "return_state": True}
CASES = {
    # name -> (constructor, inputs, keywords of the call, how it is called)
    "lstm": (lambda k: k.layers.LSTM(6), [X], {}, _call),
    "lstm_all": (lambda k: k.layers.LSTM(6, **ALL), [X], {}, _call),
    "lstm_states": (lambda k: k.layers.LSTM(6, **ALL), [X, STATE, CELL], {}, _from_states),
    "lstm_backwards": (lambda k: k.layers.LSTM(6, go_backwards=True, **ALL), [X], {}, _call),
    "lstm_mask": (lambda k: k.layers.LSTM(6, **ALL), [X], {"mask": SEEN}, _call),
    "lstm_relu": (lambda k: k.layers.LSTM(6, "relu", "hard_sigmoid", use_bias=False), [X], {}, _call),
    "lstm_forget": (lambda k: k.layers.LSTM(6, unit_forget_bias=False, dropout=0.3, seed=1), [X], {}, _call),
    "lstm_stateful": (lambda k: k.layers.LSTM(6, stateful=True, return_sequences=True), [X], {}, _twice),
    "gru": (lambda k: k.layers.GRU(6), [X], {}, _call),
    "gru_all": (lambda k: k.layers.GRU(6, **ALL), [X], {}, _call),
    "gru_before": (lambda k: k.layers.GRU(6, reset_after=False, **ALL), [X], {}, _call),
    "gru_backwards": (lambda k: k.layers.GRU(6, go_backwards=True, return_sequences=True), [X], {}, _call),
    "gru_mask": (lambda k: k.layers.GRU(6), [X], {"mask": SEEN}, _call),
    "gru_plain": (lambda k: k.layers.GRU(6, "tanh", "relu", use_bias=False), [X], {}, _call),
    "simple": (lambda k: k.layers.SimpleRNN(6), [X], {}, _call),
    "simple_all": (lambda k: k.layers.SimpleRNN(6, "relu", **ALL), [X, STATE], {}, _from_states),
    "rnn_cell": (lambda k: k.layers.RNN(k.layers.LSTMCell(6), return_sequences=True), [X], {}, _call),
    "rnn_stacked": (lambda k: k.layers.RNN([k.layers.LSTMCell(6), k.layers.GRUCell(5)]), [X], {}, _call),
    "rnn_zero_mask": (
        lambda k: k.layers.RNN(k.layers.GRUCell(6), return_sequences=True, zero_output_for_mask=True),
        [X], {"mask": SEEN}, _call),
    "both": (lambda k: k.layers.Bidirectional(k.layers.LSTM(6)), [X], {}, _call),
    "both_sum": (lambda k: k.layers.Bidirectional(k.layers.GRU(6, **ALL), "sum"), [X], {}, _call),
    "both_mask": (
        lambda k: k.layers.Bidirectional(k.layers.LSTM(6, return_sequences=True), "ave"), [X], {"mask": SEEN}, _call),
    "each_dense": (lambda k: k.layers.TimeDistributed(k.layers.Dense(3)), [X], {}, _call),
    "tower": (
        lambda k: k.Sequential([k.layers.Embedding(5, 4, mask_zero=True), k.layers.LSTM(5, return_sequences=True),
                                k.layers.GRU(4), k.layers.Dense(2)]),
        [IDS], {}, _call),
}


def case(k, name):
    """(layer, inputs, keywords, call, what turns its weights into given ones)."""
    make, inputs, keywords, call = CASES[name]

    def weights(held):
        draw = np.random.default_rng(len(name))
        return [(0.4 * draw.standard_normal(w.shape) + (np.ndim(w) == 1) * 0.3).astype(np.float32) for w in held]

    return make(k), inputs, keywords, call, weights


def training_model(k):
    """A model whose loss and weights over some steps are compared."""
    return k.Sequential([k.Input((5, 4)), k.layers.Bidirectional(k.layers.LSTM(6, return_sequences=True)),
                         k.layers.GRU(5), k.layers.Dense(2)])


TARGETS = _numbers(9, 3, 2)


def control_cases(tf, np):
    """Loops and branches: name -> function of x [4, 2]; the same with either `tf`."""
    zeros = np.zeros(2, np.float32)
    return {
        "scan": lambda x: tf.scan(lambda a, v: a * 0.5 + v, x),
        "scan_start": lambda x: tf.scan(lambda a, v: (a[0] + v, a[1] * v), x, (tf.constant(zeros), tf.ones(2))),
        "scan_reverse": lambda x: tf.scan(lambda a, v: tf.tanh(a + v), x, reverse=True),
        "scan_both": lambda x: tf.scan(lambda a, v: a + v[0] * v[1], (x, x * x), initializer=tf.constant(zeros)),
        "map": lambda x: tf.map_fn(lambda v: tf.reduce_sum(v) * v, x),
        "map_dtype": lambda x: tf.map_fn(lambda v: tf.cast(v * 10.0, tf.int32), x, fn_output_signature=tf.int32),
        "map_pair": lambda x: tf.map_fn(lambda v: (v[0] + v[1], v[1]), (x, x * 2.0),
                                        fn_output_signature=(tf.float32, tf.float32)),
        "foldl": lambda x: tf.foldl(lambda a, v: a - v * 0.5, x),
        "foldr": lambda x: tf.foldr(lambda a, v: a * v, x, initializer=tf.ones(2)),
        "while_count": lambda x: tf.while_loop(lambda i, v: i < 4, lambda i, v: (i + 1, v * 1.5 + x[0]),
                                               (tf.constant(0), x[1])),
        "while_most": lambda x: tf.while_loop(lambda v: tf.reduce_sum(v) < 9.0, lambda v: (v * v + 1.0,), (x[2],),
                                              maximum_iterations=7),
        "while_none": lambda x: tf.while_loop(lambda v: tf.reduce_sum(v) < -99.0, lambda v: (v * 2.0,), (x[2],),
                                              maximum_iterations=3),
        "cond": lambda x: tf.cond(x[0, 0] > 0, lambda: x * 2.0, lambda: tf.exp(x)),
        "switch": lambda x: tf.switch_case(tf.constant(5), [lambda: x, lambda: x * 3.0], default=lambda: x * x),
        "case": lambda x: tf.case([(x[0, 0] > 9.0, lambda: x), (x[1, 0] < 9.0, lambda: x * 3.0)], lambda: x * x),
    }


CONTROL_X = _numbers(11, 4, 2)
