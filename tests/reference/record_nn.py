"""Records TensorFlow's answers to nn_cases.py in nn.npz and random.npz beside this file; run it where TensorFlow is."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from nn_cases import DIFFERENTIABLE, NO_GRADIENT, PLAIN, RANDOM, numbers


def main() -> None:
    here = Path(__file__).parent
    drawn = {"only_op_seed": RANDOM["only_op_seed"](tf)}  # first: no global seed is set yet
    drawn |= {name: draw(tf) for name, draw in RANDOM.items() if name not in drawn}
    np.savez_compressed(here / "random.npz", **drawn)
    found = {name: function(tf).numpy() for name, function in PLAIN.items()}
    for name, (shapes, function) in DIFFERENTIABLE.items():
        xs = [tf.constant(x) for x in numbers(name, *shapes)]
        with tf.GradientTape() as tape:
            tape.watch(xs)
            y = function(tf, *xs)
            weighted = tf.reduce_sum(y * np.cos(np.arange(y.shape.num_elements())).reshape(y.shape).astype(np.float32))
        found[name] = y.numpy()
        if name in NO_GRADIENT:
            continue
        for i, g in enumerate(tape.gradient(weighted, xs, unconnected_gradients="zero")):
            found[f"{name}/{i}"] = tf.convert_to_tensor(g).numpy()
    np.savez_compressed(here / "nn.npz", **found)


if __name__ == "__main__":
    main()
