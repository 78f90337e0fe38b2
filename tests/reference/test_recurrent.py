"""Recurrent layers against recorded Keras 3, loops and branches against TensorFlow (see record_recurrent.py)."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import tideflow as tf

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("recurrent_cases", HERE / "recurrent_cases.py")
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)

# Of Keras' configuration: what has no meaning here, or is written in another form.
OTHER_CONFIG = {"dtype", "name", "quantization_config", "layers", "layer", "cell", "backward_layer", "registered_name",
                "activation", "recurrent_activation"}


@pytest.fixture(scope="module")
def recorded():
    with np.load(HERE / "recurrent.npz") as file:
        return dict(file)


def several(recorded, prefix):
    count = sum(1 for k in recorded if k.startswith(f"{prefix}/"))
    return [recorded[f"{prefix}/{i}"] for i in range(count)]


def loss_of(outputs):
    return sum(tf.reduce_sum(out * np.sin(np.arange(np.prod(out.shape), dtype=np.float32)).reshape(out.shape))
               for out in outputs if out.dtype == tf.float32)


@pytest.mark.parametrize("name", cases.CASES)
def test_layer_equals_keras(name, recorded):
    layer, x, keywords, call, weights = cases.case(tf.keras, name)
    inputs = [tf.constant(v) for v in x]
    keywords = {k: tf.constant(v) for k, v in keywords.items()}
    call(layer, inputs, **keywords)
    assert [w.name.split("/")[-1].split(":")[0] for w in layer.weights] == json.loads(str(recorded[f"{name}/names"]))
    layer.set_weights(weights(layer.get_weights()))
    floats = [v for v in inputs if v.dtype == tf.float32]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        outputs = tf.nest.flatten(call(layer, inputs, **keywords))
        loss = loss_of(outputs)
    for i, (a, b) in enumerate(zip(outputs, several(recorded, f"{name}/out"), strict=True)):
        np.testing.assert_allclose(a.numpy(), b, rtol=2e-5, atol=5e-6, err_msg=f"output {i}")
    expected = several(recorded, f"{name}/gradient")
    for i, (a, b) in enumerate(zip(tape.gradient(loss, floats + layer.trainable_weights), expected, strict=True)):
        np.testing.assert_allclose(tf.convert_to_tensor(a).numpy(), b, rtol=2e-4, atol=3e-5, err_msg=f"gradient {i}")


@pytest.mark.parametrize("name", [n for n in cases.CASES if n != "tower"])
def test_config_has_the_keys_and_values_of_keras(name, recorded):
    layer = cases.case(tf.keras, name)[0]
    config = layer.get_config()
    expected = json.loads(str(recorded[f"{name}/config"]))
    assert expected.keys() - OTHER_CONFIG <= config.keys()
    for key, value in expected.items():
        if isinstance(value, int | float | bool | list | str) and key not in OTHER_CONFIG:
            assert config[key] == value, key
    again = type(layer).from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config


@pytest.mark.parametrize("device", ["/CPU:0", "/WASM:0", pytest.param("/GPU:0", marks=pytest.mark.gpu)])
def test_training_equals_keras(device, recorded):
    model = cases.training_model(tf.keras)
    draw = np.random.default_rng(3)
    model.set_weights([(0.4 * draw.standard_normal(w.shape)).astype(np.float32) for w in model.get_weights()])
    with tf.device(device):
        model.compile(tf.keras.optimizers.Adam(0.01), "mse")
        losses = [float(model.train_on_batch(cases.X, cases.TARGETS)) for _ in range(5)]
    np.testing.assert_allclose(losses, recorded["training/losses"], rtol=1e-4)
    for w, expected in zip(model.get_weights(), several(recorded, "training/weights"), strict=True):
        np.testing.assert_allclose(w, expected, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("name", list(cases.control_cases(tf, np)))
def test_loops_and_branches_equal_tensorflow(name, traced, recorded):
    function = cases.control_cases(tf, np)[name]
    x = tf.constant(cases.CONTROL_X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.nest.flatten((tf.function(function) if traced else function)(x))
        loss = loss_of(outputs)
    for a, b in zip(outputs, several(recorded, f"control/{name}/out"), strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=1e-6)
        assert a.numpy().dtype == b.dtype
    for b in several(recorded, f"control/{name}/gradient"):
        np.testing.assert_allclose(tape.gradient(loss, x).numpy(), b, rtol=1e-4, atol=1e-5)
