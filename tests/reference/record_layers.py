"""Records layers of Keras 3 (TensorFlow) into layers.npz: outputs, gradients, configuration, names of weights.

python tests/reference/record_layers.py         # in an environment with tensorflow-cpu 2.21
"""

import json
import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from layer_cases import CASES, case

recorded = {}


def numbers(prefix, values):
    for i, v in enumerate(values):
        recorded[f"{prefix}/{i}"] = np.asarray(v)


for name in CASES:
    layer, x, keywords, call, weights = case(keras, name)
    inputs = [tf.constant(v) for v in x]
    keywords = {k: [tf.constant(m) for m in v] if isinstance(v, list) else v for k, v in keywords.items()}
    call(layer, inputs, **keywords)
    layer.set_weights(weights(layer.get_weights()))
    floats = [v for v in inputs if v.dtype == tf.float32]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        outputs = tf.nest.flatten(call(layer, inputs, **keywords))
        loss = sum(
            tf.reduce_sum(out * np.sin(np.arange(np.prod(out.shape), dtype=np.float32)).reshape(out.shape))
            for out in outputs
        )
    wanted = floats + list(layer.trainable_weights)
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, wanted)]
    numbers(f"{name}/out", [out.numpy() for out in outputs])
    numbers(f"{name}/gradient", [g.numpy() for g in gradients])
    recorded[f"{name}/names"] = np.array(json.dumps([w.name for w in layer.weights]))
    recorded[f"{name}/config"] = np.array(json.dumps(layer.get_config(), default=str, sort_keys=True))

np.savez_compressed(Path(__file__).with_name("layers.npz"), **recorded)
print(len(recorded), "arrays")
