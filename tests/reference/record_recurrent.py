"""Records recurrent layers of Keras 3, and loops and branches of TensorFlow, into recurrent.npz.

python tests/reference/record_recurrent.py      # in an environment with tensorflow-cpu 2.21
"""

import json
import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from recurrent_cases import CASES, CONTROL_X, TARGETS, X, case, control_cases, training_model

recorded = {}


def numbers(prefix, values):
    for i, v in enumerate(values):
        recorded[f"{prefix}/{i}"] = np.asarray(v)


def loss_of(outputs):
    return sum(tf.reduce_sum(out * np.sin(np.arange(np.prod(out.shape), dtype=np.float32)).reshape(out.shape))
               for out in outputs if out.dtype == tf.float32)


for name in CASES:
    layer, x, keywords, call, weights = case(keras, name)
    inputs = [tf.constant(v) for v in x]
    keywords = {k: tf.constant(v) for k, v in keywords.items()}
    call(layer, inputs, **keywords)
    layer.set_weights(weights(layer.get_weights()))
    floats = [v for v in inputs if v.dtype == tf.float32]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        outputs = tf.nest.flatten(call(layer, inputs, **keywords))
        loss = loss_of(outputs)
    wanted = floats + list(layer.trainable_weights)
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, wanted)]
    numbers(f"{name}/out", [out.numpy() for out in outputs])
    numbers(f"{name}/gradient", [g.numpy() for g in gradients])
    recorded[f"{name}/names"] = np.array(json.dumps([w.name for w in layer.weights]))
    recorded[f"{name}/config"] = np.array(json.dumps(layer.get_config(), default=str, sort_keys=True))

model = training_model(keras)
draw = np.random.default_rng(3)
model.set_weights([(0.4 * draw.standard_normal(w.shape)).astype(np.float32) for w in model.get_weights()])
model.compile(keras.optimizers.Adam(0.01), "mse")
recorded["training/losses"] = np.array([float(model.train_on_batch(X, TARGETS)) for _ in range(5)])
numbers("training/weights", model.get_weights())

for name, function in control_cases(tf, np).items():
    x = tf.constant(CONTROL_X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.nest.flatten(tf.function(function)(x))
        loss = loss_of(outputs)
    numbers(f"control/{name}/out", [out.numpy() for out in outputs])
    gradient = tape.gradient(loss, x) if any(o.dtype == tf.float32 for o in outputs) else None
    numbers(f"control/{name}/gradient", [] if gradient is None else [tf.convert_to_tensor(gradient).numpy()])

np.savez_compressed(Path(__file__).with_name("recurrent.npz"), **recorded)
print(len(recorded), "arrays")
