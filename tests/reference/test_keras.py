"""Layers, losses, metrics, optimizers and training against recorded Keras 3 (see record_keras.py)."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import tideflow as tf

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("keras_cases", HERE / "keras_cases.py")
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)
LAYERS, LOSSES, METRICS, OPTIMIZERS, TRAINING = (
    cases.LAYERS,
    cases.LOSSES,
    cases.METRICS,
    cases.OPTIMIZERS,
    cases.TRAINING,
)
layer_case, training_case = cases.layer_case, cases.training_case

# Of Keras' configuration: what has no meaning here, or is written in another form.
OTHER_CONFIG = {
    "dtype",
    "quantization_config",
    "lora_rank",
    "lora_alpha",
    "renorm",
    "renorm_clipping",
    "renorm_momentum",
    "rms_scaling",
}


@pytest.fixture(scope="module")
def recorded():
    with np.load(HERE / "keras.npz") as file:
        return dict(file)


def several(recorded, prefix):
    count = sum(1 for k in recorded if k.startswith(f"{prefix}/"))
    return [recorded[f"{prefix}/{i}"] for i in range(count)]


def close(found, expected, rtol=2e-5, atol=2e-6, what=""):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=rtol, atol=atol, err_msg=what)


@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_keras(name, recorded):
    layer, x, weights, training = layer_case(tf.keras, name)
    inputs = [tf.Variable(v) for v in x]
    given = inputs[0] if len(inputs) == 1 else inputs
    keywords = {"training": True} if training else {}
    layer(given, **keywords)
    layer.set_weights(weights(layer.get_weights()))
    with tf.GradientTape() as tape:
        out = layer(given, **keywords)
        waves = tf.constant(np.sin(np.arange(np.prod(out.shape), dtype=np.float32)).reshape(out.shape))
        loss = tf.reduce_sum(out * waves)
    close(out, recorded[f"layer/{name}/out"], what="outputs")
    expected = several(recorded, f"layer/{name}/gradient")
    found = tape.gradient(loss, [*inputs, *layer.trainable_weights])
    assert len(found) == len(expected)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        close(a, b, rtol=1e-4, atol=1e-5, what=f"gradient {i}")
    for i, (a, b) in enumerate(zip(layer.get_weights(), several(recorded, f"layer/{name}/weights"), strict=True)):
        close(a, b, what=f"weight {i} afterwards")


@pytest.mark.parametrize("name", LAYERS)
def test_layer_config_has_the_keys_and_values_of_keras(name, recorded):
    config = layer_case(tf.keras, name)[0].get_config()
    expected = json.loads(str(recorded[f"layer/{name}/config"]))
    assert expected.keys() - OTHER_CONFIG <= config.keys()
    for key, value in expected.items():
        if isinstance(value, int | float | bool | list) and key not in OTHER_CONFIG:
            assert config[key] == value or list(np.atleast_1d(config[key])) == value, key


@pytest.mark.parametrize("name", LOSSES)
def test_loss_equals_keras(name, recorded):
    make, y_true, y_pred, weight = LOSSES[name]
    close(make(tf.keras)(y_true, y_pred, sample_weight=weight), recorded[f"loss/{name}"])


@pytest.mark.parametrize("name", METRICS)
def test_metric_equals_keras(name, recorded):
    make, batches = METRICS[name]
    metric = make(tf.keras)
    for batch in batches:
        metric.update_state(*batch)
    close(metric.result(), recorded[f"metric/{name}"])
    metric.reset_state()
    assert not np.any(np.asarray(metric.result()))
    again = type(metric).from_config(json.loads(json.dumps(metric.get_config())))
    assert again.get_config() == metric.get_config()


@pytest.mark.parametrize("name", cases.SCHEDULES)
def test_schedule_equals_keras(name, recorded):
    schedule = cases.SCHEDULES[name](tf.keras.optimizers.schedules)
    again = type(schedule).from_config(json.loads(json.dumps(schedule.get_config())))
    for made in (schedule, again):
        close([float(made(step)) for step in range(12)], recorded[f"schedule/{name}"], rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_config_equals_keras(name, recorded):
    config = OPTIMIZERS[name](tf.keras).get_config()
    expected = json.loads(str(recorded[f"optimizer/{name}"]))
    assert config.keys() == expected.keys()
    for key, value in expected.items():
        if key != "name":
            assert config[key] == pytest.approx(value) if isinstance(value, float) else config[key] == value, key


@pytest.mark.parametrize("device", ["cpu", "wasm"])
@pytest.mark.parametrize("name", TRAINING)
def test_five_training_steps_equal_keras(name, device, recorded):
    if device == "wasm":
        pytest.importorskip("wasmtime", reason="no wasmtime")
    model, batches, settings = training_case(tf.keras, name)
    with tf.device(device):
        model.compile(**settings)
        logs = [model.train_on_batch(**batch, return_dict=True) for batch in batches]
        predicted = model.predict(batches[0]["x"], verbose=0)
        tested = model.test_on_batch(batches[0]["x"], batches[0]["y"], return_dict=True)
    for found, expected in zip(logs, json.loads(str(recorded[f"training/{name}/logs"])), strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    for i, (a, b) in enumerate(zip(model.get_weights(), several(recorded, f"training/{name}/weights"), strict=True)):
        close(a, b, rtol=2e-4, atol=2e-5, what=f"weight {i}")
    close(predicted, recorded[f"training/{name}/predicted"], rtol=2e-4, atol=2e-5)
    assert tested == pytest.approx(json.loads(str(recorded[f"training/{name}/tested"])), rel=2e-4, abs=2e-5)
