"""Writes step.tide: the hand-written model of tests/unit/runtime/hand_made.py with WGSL and WASM programs; and
network.tide: a small network that trains, made by the compiler. Run from the root.
"""

import importlib.util
from pathlib import Path

from tideflow.program.format import Target
from tideflow.program.write import write_model

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("hand_made", HERE.parents[1] / "unit" / "runtime" / "hand_made.py")
hand_made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hand_made)
(HERE / "step.tide").write_bytes(write_model(hand_made.model(Target.WGSL, Target.WASM)))


def network() -> bytes:
    """A small convolutional network with kernels large enough to share, its training step included."""
    import numpy as np
    import tideflow as tf
    from tideflow import keras
    from tideflow.function.trace import TensorSpec
    from tideflow.keras import layers
    from tideflow.keras.saving import model_bytes

    tf.random.set_seed(1)
    model = keras.Sequential([
        keras.Input((12, 12, 4)), layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(4),
        layers.Flatten(), layers.Dense(40, activation="tanh"), layers.Dense(10),
    ])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
    batch = (TensorSpec([None, 12, 12, 4], np.dtype("float32")), TensorSpec([None], np.dtype("int32")), None)
    model._prepare("train_step", batch)
    return model_bytes(model, ("wasm",))


(HERE / "network.tide").write_bytes(network())
