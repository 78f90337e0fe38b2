"""The model that the second page opens with: `make sample` made it."""

from pathlib import Path

import numpy as np
import tideflow as tf

ASSETS = Path(__file__).resolve().parents[2] / "demo_site" / "assets"


def test_sample_loads_and_is_accurate():
    model = tf.keras.models.load_model(str(ASSETS / "sample.tide"))
    with np.load(ASSETS / "digits" / "digits.npz") as digits:
        rows = digits["held_out"]
        images, labels = digits["images"][rows].astype(np.float32)[..., np.newaxis], digits["labels"][rows]
    probabilities = model.predict(images, verbose=0)
    assert (probabilities.argmax(1) == labels).mean() >= 0.97
