"""Records Keras 3 (TensorFlow) into keras.npz: layers, losses, metrics and five training steps from given numbers.

python tests/reference/record_keras.py         # in an environment with tensorflow-cpu 2.21
"""

import json
import os
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from keras_cases import LAYERS, LOSSES, METRICS, OPTIMIZERS, SCHEDULES, TRAINING, layer_case, training_case

recorded = {}


def numbers(prefix, values):
    for i, v in enumerate(values):
        recorded[f"{prefix}/{i}"] = np.asarray(v)


def record_layers():
    for name in LAYERS:
        layer, x, weights, training = layer_case(keras, name)
        inputs = [tf.Variable(v) for v in x]
        given = inputs[0] if len(inputs) == 1 else inputs
        keywords = {"training": True} if training else {}
        layer(given, **keywords)
        layer.set_weights(weights(layer.get_weights()))
        with tf.GradientTape() as tape:
            out = layer(given, **keywords)
            loss = tf.reduce_sum(out * tf.sin(tf.range(tf.size(out), dtype=tf.float32)).numpy().reshape(out.shape))
        gradients = tape.gradient(loss, [*inputs, *layer.trainable_weights])
        recorded[f"layer/{name}/out"] = out.numpy()
        numbers(f"layer/{name}/gradient", [g.numpy() for g in gradients])
        numbers(f"layer/{name}/weights", layer.get_weights())
        recorded[f"layer/{name}/config"] = np.array(json.dumps(layer.get_config(), default=str, sort_keys=True))


def record_functions():
    for name, (make, y_true, y_pred, weight) in LOSSES.items():
        recorded[f"loss/{name}"] = make(keras)(y_true, y_pred, sample_weight=weight).numpy()
    for name, (make, batches) in METRICS.items():
        metric = make(keras)
        for batch in batches:
            metric.update_state(*batch)
        recorded[f"metric/{name}"] = np.asarray(metric.result())
    for name, make in SCHEDULES.items():
        recorded[f"schedule/{name}"] = np.array([float(make(keras.optimizers.schedules)(step)) for step in range(12)])
    for name, make in OPTIMIZERS.items():
        recorded[f"optimizer/{name}"] = np.array(json.dumps(make(keras).get_config(), sort_keys=True))


def record_training():
    for name in TRAINING:
        model, batches, settings = training_case(keras, name)
        model.compile(**settings)
        logs = []
        for batch in batches:
            found = model.train_on_batch(**batch, return_dict=True)
            logs.append({k: float(v) for k, v in found.items()})
        recorded[f"training/{name}/logs"] = np.array(json.dumps(logs))
        numbers(f"training/{name}/weights", model.get_weights())
        x = batches[0]["x"]
        recorded[f"training/{name}/predicted"] = model.predict(x, verbose=0)
        tested = model.test_on_batch(x, batches[0]["y"], return_dict=True)
        recorded[f"training/{name}/tested"] = np.array(json.dumps({k: float(v) for k, v in tested.items()}))


if __name__ == "__main__":
    record_layers()
    record_functions()
    record_training()
    np.savez_compressed(Path(__file__).with_name("keras.npz"), **recorded)
    print(len(recorded), "arrays")
