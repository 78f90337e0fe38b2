"""Records five steps of each Keras 3 optimizer in optimizers.npz beside this file; run it where TensorFlow is."""

from pathlib import Path

import keras
import numpy as np

SETTINGS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "sgd_decay": lambda: keras.optimizers.SGD(0.1, weight_decay=0.04),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: keras.optimizers.Adam(0.05),
    "amsgrad": lambda: keras.optimizers.Adam(0.05, amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(0.05, weight_decay=0.03),
    "adamax": lambda: keras.optimizers.Adamax(0.05),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.05),
    "rmsprop_momentum": lambda: keras.optimizers.RMSprop(0.05, momentum=0.7),
    "rmsprop_centered": lambda: keras.optimizers.RMSprop(0.05, momentum=0.7, centered=True),
    "adagrad": lambda: keras.optimizers.Adagrad(0.05),
    "adadelta": lambda: keras.optimizers.Adadelta(0.5),
    "lion": lambda: keras.optimizers.Lion(0.01),
}


def main() -> None:
    rng = np.random.default_rng(11)
    start = rng.standard_normal((4, 3)).astype(np.float32)
    gradients = rng.standard_normal((5, 4, 3)).astype(np.float32) * np.array([1.0, 0.1, 3.0], np.float32)
    gradients[:, 0, 0] = 0.0                                   # a parameter that never sees a gradient
    found = {"start": start, "gradients": gradients}
    for name, make in SETTINGS.items():
        variable, optimizer = keras.Variable(start), make()
        steps = []
        for gradient in gradients:
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
            steps.append(np.array(variable))
        found[name] = np.stack(steps)
    np.savez_compressed(Path(__file__).with_name("optimizers.npz"), **found)


if __name__ == "__main__":
    main()
