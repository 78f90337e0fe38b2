"""A recurrent network learns which of two tones a noisy signal holds, and is saved to be trained on in a browser.

python examples/recurrent.py
"""

import numpy as np
import tideflow as tf

rng = np.random.default_rng(0)
labels = rng.integers(0, 2, 256).astype(np.int32)
time = np.arange(32)
phase = rng.uniform(0, 2 * np.pi, (256, 1))
signals = np.sin(time * np.where(labels, 0.5, 0.9)[:, None] + phase) + 0.3 * rng.standard_normal((256, 32))
signals = signals[..., None].astype(np.float32)

model = tf.keras.Sequential([
    tf.keras.Input((32, 1)),
    tf.keras.layers.Bidirectional(tf.keras.layers.GRU(12)),
    tf.keras.layers.Dense(2, activation="softmax"),
])
model.compile(tf.keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(signals[:192], labels[:192], epochs=6, batch_size=32, verbose=2)
loss, accuracy = model.evaluate(signals[192:], labels[192:], verbose=0)
print(f"accuracy on signals it has not seen: {accuracy:.2f}")
model.save("recurrent.tide")


@tf.function
def smoothed(x):
    """A loop of one's own: one op, in a program one LOOP step."""
    return tf.scan(lambda level, value: 0.8 * level + 0.2 * value, x)


print(smoothed(tf.constant(signals[0, :5, 0])).numpy())
