"""A training loop by hand, with GradientTape inside tf.function: fits a straight line through noisy points."""

import numpy as np
import tideflow as tf

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (256, 1)).astype("float32")
y = (3 * x - 1 + rng.normal(0, 0.05, x.shape)).astype("float32")

slope, offset = tf.Variable([[0.0]]), tf.Variable([0.0])


@tf.function
def step(x, y):
    """One step of gradient descent; traced and compiled at the first call."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(tf.matmul(x, slope) + offset - y))
    for variable, gradient in zip((slope, offset), tape.gradient(loss, (slope, offset)), strict=True):
        variable.assign_sub(0.3 * gradient)
    return loss


for number in range(60):
    loss = step(tf.constant(x), tf.constant(y))
    if number % 20 == 0:
        print(f"step {number}: loss {float(loss):.4f}")
print(f"slope {float(slope.numpy().item()):.2f}, offset {float(offset.numpy().item()):.2f}")
