"""Layers of sequences, attention, normalisation and images against recorded Keras 3 (see record_layers.py)."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import tideflow as tf

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("layer_cases", HERE / "layer_cases.py")
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)

# Of Keras' configuration: what has no meaning here, or is written in another form.
OTHER_CONFIG = {"dtype", "name", "quantization_config", "lora_rank", "layers", "input_layers", "output_layers"}


@pytest.fixture(scope="module")
def recorded():
    with np.load(HERE / "layers.npz") as file:
        return dict(file)


def several(recorded, prefix):
    count = sum(1 for k in recorded if k.startswith(f"{prefix}/"))
    return [recorded[f"{prefix}/{i}"] for i in range(count)]


def close(found, expected, rtol, atol, what):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=rtol, atol=atol, err_msg=what)


@pytest.mark.parametrize("name", cases.CASES)
def test_layer_equals_keras(name, recorded):
    layer, x, keywords, call, weights = cases.case(tf.keras, name)
    inputs = [tf.constant(v) for v in x]
    keywords = {
        k: list(map(tf.constant, v)) if isinstance(v, list) else tf.constant(v) if isinstance(v, np.ndarray) else v
        for k, v in keywords.items()
    }
    call(layer, inputs, **keywords)
    assert [w.name.split("/")[-1].split(":")[0] for w in layer.weights] == json.loads(str(recorded[f"{name}/names"]))
    layer.set_weights(weights(layer.get_weights()))
    floats = [v for v in inputs if v.dtype == tf.float32]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        outputs = tf.nest.flatten(call(layer, inputs, **keywords))
        loss = sum(
            tf.reduce_sum(out * np.sin(np.arange(np.prod(out.shape), dtype=np.float32)).reshape(out.shape))
            for out in outputs
        )
    for i, (a, b) in enumerate(zip(outputs, several(recorded, f"{name}/out"), strict=True)):
        close(a, b, 2e-5, 5e-6, f"output {i}")
    wanted = floats + layer.trainable_weights
    expected = several(recorded, f"{name}/gradient")
    for i, (a, b) in enumerate(zip(tape.gradient(loss, wanted), expected, strict=True)):
        close(tf.convert_to_tensor(a), b, 2e-4, 3e-5, f"gradient {i}")


@pytest.mark.parametrize("name", [n for n in cases.CASES if "averaged" not in n and "of_ids" not in n])
def test_config_has_the_keys_and_values_of_keras(name, recorded):
    layer = cases.case(tf.keras, name)[0]
    config = layer.get_config()
    expected = json.loads(str(recorded[f"{name}/config"]))
    assert expected.keys() - OTHER_CONFIG <= config.keys()
    built = {"axis", "groups", "attention_axes"}  # Keras changes these when it builds the layer
    for key, value in expected.items():
        if isinstance(value, int | float | bool | list | str) and key not in OTHER_CONFIG | built:
            assert config[key] == value or list(np.atleast_1d(config[key])) == value, key
    again = type(layer).from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
