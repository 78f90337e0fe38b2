"""Two inputs by the functional API, with batch normalisation and dropout; saved, and loaded without its source."""

import tempfile
from pathlib import Path

import numpy as np
import tideflow as tf
from tideflow.keras import Input, Model, layers

tf.keras.utils.set_random_seed(3)
rng = np.random.default_rng(3)
left, right = (rng.normal(size=(1024, 6)).astype("float32") for _ in range(2))
label = (np.sum(left * right, axis=1) > 0).astype("float32")[:, None]

a, b = Input((6,), name="left"), Input((6,), name="right")
both = layers.Concatenate()([a, b, layers.Multiply()([a, b])])
hidden = layers.Dropout(0.1)(layers.BatchNormalization()(layers.Dense(32, activation="relu")(both)))
model = Model([a, b], layers.Dense(1, activation="sigmoid")(hidden))
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
model.summary()
history = model.fit([left, right], label, batch_size=64, epochs=20, validation_split=0.25, verbose=0)
print(f"validation accuracy {history.history['val_accuracy'][-1]:.3f}")

with tempfile.TemporaryDirectory() as folder:
    path = str(Path(folder) / "pairs.tide")
    model.save(path)
    loaded = tf.keras.models.load_model(path)
    difference = np.abs(loaded.predict([left, right], verbose=0) - model.predict([left, right], verbose=0)).max()
print(f"loaded model differs by {difference:.1e}")
