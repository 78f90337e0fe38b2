"""Random state: streams, seeds, and draws inside compiled functions. (The numbers themselves: tests/reference.)"""

import numpy as np
import pytest
import tideflow as tf
from tideflow.errors import UnimplementedError

DEVICES = ["/CPU:0", "WASM:0"]


def draws(n, function):
    return [function().numpy() for _ in range(n)]


def all_differ(arrays):
    return len({a.tobytes() for a in arrays}) == len(arrays)


def test_a_seed_starts_the_same_stream_again():
    tf.random.set_seed(3)
    first = draws(3, lambda: tf.random.normal([4]))
    tf.random.set_seed(3)
    again = draws(3, lambda: tf.random.normal([4]))
    assert all_differ(first)
    np.testing.assert_array_equal(first, again)


def test_without_a_seed_two_draws_differ():
    assert all_differ(draws(3, lambda: tf.random.Generator.from_non_deterministic_state().uniform([8])))


def test_a_state_can_be_kept_and_put_back():
    g = tf.random.Generator.from_seed(9)
    g.normal([5])
    state = g.state.numpy()
    first = g.uniform([6]).numpy()
    g.reset(state)
    np.testing.assert_array_equal(g.uniform([6]).numpy(), first)
    copied = tf.random.Generator.from_state(state, alg="philox")
    np.testing.assert_array_equal(copied.uniform([6]).numpy(), first)


def test_split_gives_independent_streams():
    parts = tf.random.Generator.from_seed(9).split(3)
    assert all_differ([g.normal([4]).numpy() for g in parts])


@pytest.mark.parametrize("device", DEVICES)
def test_a_compiled_function_draws_anew_in_each_call(device):
    @tf.function
    def draw():
        return tf.random.uniform([8]), tf.random.uniform([8])

    tf.random.set_seed(5)
    with tf.device(device):
        first = [x.numpy() for _ in range(3) for x in draw()]
        tf.random.set_seed(5)
        again = [x.numpy() for _ in range(3) for x in draw()]
    assert all_differ(first)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("device", DEVICES)
def test_a_generator_in_a_compiled_function_gives_its_eager_numbers(device):
    g, h = tf.random.Generator.from_seed(21), tf.random.Generator.from_seed(21)

    @tf.function
    def draw():
        return h.normal([5]), h.uniform([3], -1.0, 1.0)

    with tf.device(device):
        for _ in range(2):
            a, b = draw()
            np.testing.assert_allclose(a.numpy(), g.normal([5]).numpy(), rtol=2e-6, atol=1e-6)
            np.testing.assert_array_equal(b.numpy(), g.uniform([3], -1.0, 1.0).numpy())
    np.testing.assert_array_equal(g.state.numpy(), h.state.numpy())


@pytest.mark.parametrize("device", DEVICES)
def test_the_gradient_of_dropout_uses_the_same_mask(device):
    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.nn.dropout(x, 0.5)
        return y, tape.gradient(y, x)

    x = tf.constant(np.arange(1.0, 65.0, dtype=np.float32))
    with tf.device(device):
        for _ in range(2):
            y, dx = (t.numpy() for t in run(x))
            np.testing.assert_allclose(y, dx * np.arange(1.0, 65.0), rtol=1e-6)
            assert 0 < (dx == 0).sum() < 64


def test_a_counter_too_long_for_a_cell_is_refused_in_a_trace():
    g = tf.random.Generator.from_seed(-1)
    with pytest.raises(UnimplementedError, match="below 2\\*\\*64"):
        tf.function(lambda: g.normal([2]))()


def test_stateless_draws_in_a_trace_take_the_seed_as_an_argument():
    draw = tf.function(lambda seed: tf.random.stateless_normal([5], seed))
    for seed in ([1, 2], [-3, 4]):
        expected = tf.random.stateless_normal([5], seed).numpy()
        np.testing.assert_allclose(draw(tf.constant(seed)).numpy(), expected, rtol=2e-6, atol=1e-6)
        with tf.device("WASM:0"):
            np.testing.assert_allclose(draw(tf.constant(seed)).numpy(), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_a_compiled_shuffle_is_a_new_permutation_in_each_call(device):
    shuffle = tf.function(lambda x: tf.random.shuffle(x))
    rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    with tf.device(device):
        made = draws(3, lambda: shuffle(tf.constant(rows)))
    assert all_differ(made)
    for m in made:
        np.testing.assert_array_equal(m[np.argsort(m[:, 0])], rows)


def test_categorical_follows_the_probabilities():
    tf.random.set_seed(0)
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.05, 0.05, 0.9]], np.float32))
    made = tf.random.categorical(logits, 4000)
    assert made.dtype == tf.int64 and made.shape == (2, 4000)
    counts = [np.bincount(row, minlength=3) / 4000 for row in made.numpy()]
    np.testing.assert_allclose(counts, np.exp(logits), atol=0.03)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="maxval"):
        tf.random.uniform([2], dtype="int32")
    with pytest.raises(UnimplementedError, match="philox"):
        tf.random.Generator.from_seed(1, alg="threefry")
    with pytest.raises(ValueError, match=r"range \[0, 1\)"):
        tf.nn.dropout(np.ones(3, np.float32), 1.5)
    with pytest.raises(ValueError, match="floating point"):
        tf.nn.dropout(np.ones(3, np.int32), 0.5)


def test_categorical_gives_tensorflows_numbers():
    """Recorded with TensorFlow 2.21."""
    logits = np.float32([[0.0, -np.inf, 1.0], [1.0, 2.0, 3.0]])
    made = tf.random.stateless_categorical(logits, 9, seed=(3, 4), dtype=tf.int32)
    assert made.dtype is tf.int32
    assert made.numpy().tolist() == [[2, 2, 0, 2, 2, 2, 0, 0, 2], [1, 1, 2, 2, 0, 2, 2, 2, 2]]
    tf.random.set_seed(5)
    tf.random.categorical([[0.0, 0.0, 0.0]], 4)
    drawn = [tf.random.categorical([[0.0, 1.0, 0.0]] * 2, 3, seed=4).numpy().tolist() for _ in range(3)]
    assert drawn == [[[1, 0, 2], [2, 1, 2]], [[0, 1, 1], [2, 1, 0]], [[1, 2, 2], [2, 1, 1]]]
