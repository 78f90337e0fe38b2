"""Trains the network of the first page on the desktop and saves it: python examples/digits.py [epochs] [file]

The file can be opened on the second page, or with `python -m tideflow run digits.tide --input digits.npy`.
"""

import sys
from pathlib import Path

import numpy as np
import tideflow as tf
from tideflow.keras import layers

ASSET = Path(__file__).resolve().parent.parent / "demo_site" / "assets" / "digits" / "digits.npz"


def load_digits():
    """The 1,437 scans to learn from and the 360 held out."""
    with np.load(ASSET) as digits:
        images, labels = digits["images"].astype("float32")[..., None], digits["labels"].astype("int32")
        test = np.isin(np.arange(len(labels)), digits["held_out"])
    return (images[~test], labels[~test]), (images[test], labels[test])


def main(epochs: int = 15, path: str = "digits.tide") -> None:
    """Trains, saves, reports."""
    tf.keras.utils.set_random_seed(1)
    (x_train, y_train), (x_test, y_test) = load_digits()
    model = tf.keras.Sequential([
        tf.keras.Input((8, 8, 1)),
        layers.Rescaling(1 / 16),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ])
    model.compile(tf.keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=32, epochs=epochs)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    model.save(path)
    print(f"held out: loss {loss:.4f}, accuracy {accuracy:.4f}; saved {path}")


if __name__ == "__main__":
    main(*(kind(argument) for kind, argument in zip((int, str), sys.argv[1:], strict=False)))
