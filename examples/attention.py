"""Attention: finds the number that occurs twice in a list, which may end early (0 is padding, and masked).

TIDEFLOW_DEVICE=wasm python examples/attention.py
"""

import sys

import numpy as np
import tideflow as tf

NUMBERS, LENGTH = 12, 9
epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 4
rng = np.random.default_rng(0)


def lists(count):
    """Lists of different numbers, one of them twice, and that number."""
    made, twice = np.zeros((count, LENGTH), "int32"), np.zeros(count, "int32")
    for row in range(count):
        size = rng.integers(3, LENGTH + 1)
        numbers = rng.permutation(NUMBERS)[: size - 1] + 1
        twice[row] = numbers[0]
        made[row, :size] = rng.permutation([*numbers, numbers[0]])
    return made, twice - 1


tf.keras.utils.set_random_seed(0)
layers = tf.keras.layers
inputs = layers.Input((LENGTH,), dtype="int32")
x = layers.Embedding(NUMBERS + 1, 32, mask_zero=True)(inputs)
x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 16)(x, x)]))
x = layers.LayerNormalization()(layers.Add()([x, layers.Dense(32)(layers.Dense(64, activation="gelu")(x))]))
outputs = layers.Dense(NUMBERS, activation="softmax")(layers.GlobalAveragePooling1D()(x))
model = tf.keras.Model(inputs, outputs)
model.compile(tf.keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])

x, y = lists(4000)
model.fit(x[:3600], y[:3600], batch_size=100, epochs=epochs, verbose=2)
loss, accuracy = model.evaluate(x[3600:], y[3600:], verbose=0)
print(f"on lists not seen before: accuracy {accuracy:.3f}")
