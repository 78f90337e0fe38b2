"""Files: a fresh process, another model of the session, JavaScript's training, the start again."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tideflow as tf
from tideflow.errors import ModelError
from tideflow.function.host import open_model
from tideflow.program.read import read_model

L, K = tf.keras.layers, tf.keras
RUNTIME = Path(__file__).parents[2] / "js_bindings" / "runtime" / "index.js"


def network():
    return K.Sequential(
        [
            L.Input((8, 8, 1)),
            # no bias: its gradient before a batch norm is rounding alone, which Adam scales up
            L.Conv2D(4, 3, padding="same", use_bias=False, kernel_initializer="he_normal"),
            L.BatchNormalization(momentum=0.8),
            L.ReLU(),
            L.Conv2D(6, 3, activation="relu"),
            L.GlobalAveragePooling2D(),
            L.Dropout(0.2),
            L.Dense(4, "softmax", kernel_initializer="orthogonal"),
        ]
    )


def trained(images, optimizer="adam"):
    model = network()
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*images, epochs=2, verbose=0)
    return model


def tensors(model):
    return {
        t.name: np.frombuffer(bytes(t.data), {"F32": "<f4", "I64": "<i8", "U32": "<u4"}[t.dtype.name])
        for t in model.tensors
        if t.role.name in ("WEIGHT", "OPTIMIZER_SLOT", "METRIC", "COUNTER", "RNG")
    }


def test_names_tell_places_whatever_the_session_called_the_layers(images, tmp_path):
    network()
    trained(images).save(tmp_path / "m.tide")
    names = set(tensors(read_model((tmp_path / "m.tide").read_bytes())))
    assert {"conv2d/kernel", "conv2d_1/bias", "batch_normalization/moving_mean", "dense/kernel"} <= names
    assert {"adam/m/conv2d/kernel", "adam/v/dense/bias", "adam/iterations", "dropout/seed_generator"} <= names
    assert {"metrics/loss/total", "metrics/accuracy/count"} <= names


def test_equal_models_give_equal_tensor_names_in_any_order(images, tmp_path):
    first, second = network(), network()
    x = images[0][:3]
    second.set_weights(first.get_weights())
    second.save_weights(tmp_path / "w.tide")
    third = network()
    third.load_weights(tmp_path / "w.tide")
    np.testing.assert_array_equal(third.predict(x, verbose=0), first.predict(x, verbose=0))


@pytest.mark.parametrize(
    "optimizer", ["adam", K.optimizers.SGD(0.05, momentum=0.9), K.optimizers.RMSprop(centered=True)]
)
def test_training_goes_on_as_if_it_had_not_been_saved(optimizer, images, tmp_path):
    model = trained(images, optimizer)
    model.save(tmp_path / "m.tide")
    again = K.models.load_model(tmp_path / "m.tide")
    assert int(again.optimizer.iterations.numpy()) == 6
    first = model.fit(*images, shuffle=False, verbose=0).history
    assert again.fit(*images, shuffle=False, verbose=0).history == first
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_fresh_process_loads_the_file(images, tmp_path):
    model = trained(images)
    path = tmp_path / "m.tide"
    model.save(path)
    np.save(tmp_path / "x.npy", images[0][:5])
    code = (
        "import sys, numpy as np, tideflow as tf\n"
        "m = tf.keras.models.load_model(sys.argv[1])\n"
        "np.save(sys.argv[3], m.predict(np.load(sys.argv[2]), verbose=0))\n"
    )
    subprocess.run([sys.executable, "-c", code, path, tmp_path / "x.npy", tmp_path / "y.npy"], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model.predict(images[0][:5], verbose=0), atol=1e-6)


TRAIN = """
import fs from "node:fs";
const [runtime, path, data, result] = process.argv.slice(2);
const { load } = await import(runtime);
const { x, y } = JSON.parse(fs.readFileSync(data));
const model = await load(new Uint8Array(fs.readFileSync(path)), { device: "wasm", worker: false });
for (const size of [32, 32, 6]) {
  await model.trainStep({
    x: { data: Float32Array.from(x.slice(0, size * 64)), shape: [size, 8, 8, 1] },
    y: { data: BigInt64Array.from(y.slice(0, size).map(BigInt)), shape: [size] },
    learning_rate: 0.003,
  });
}
fs.writeFileSync(result + ".trained", await model.save());
await model.run("reset");
fs.writeFileSync(result + ".reset", await model.save());
await model.close();
"""


def test_a_file_trained_on_and_reset_by_javascript_comes_back(images, tmp_path, require):
    if shutil.which("node") is None:
        require("node", "node is missing")
    model = network()
    start = model.get_weights()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = images
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.tide")
    (tmp_path / "train.mjs").write_text(TRAIN)
    (tmp_path / "data.json").write_text(json.dumps({"x": x.reshape(-1).tolist(), "y": y.tolist()}))
    arguments = [RUNTIME, tmp_path / "m.tide", tmp_path / "data.json", tmp_path / "out"]
    subprocess.run(["node", tmp_path / "train.mjs", *arguments], check=True, timeout=60)

    model.optimizer.learning_rate = 0.003
    for size in (32, 32, 6):
        model.train_on_batch(x[:size], y[:size])
    again = K.models.load_model(_as_tide(tmp_path / "out.trained"))
    loaded = network()
    loaded.compile("adam", "sparse_categorical_crossentropy")
    loaded.load_weights(_as_tide(tmp_path / "out.trained"))
    for other in (again, loaded):
        assert int(other.optimizer.iterations.numpy()) == 6
        for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5)
        for a, b in zip(model.optimizer.variables[2:], other.optimizer.variables[2:], strict=True):
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-3, atol=1e-6)

    fresh = K.models.load_model(_as_tide(tmp_path / "out.reset"))
    assert int(fresh.optimizer.iterations.numpy()) == 0
    for a, b in zip(start, fresh.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)


def _as_tide(path):
    target = path.with_suffix(path.suffix + ".tide")
    shutil.copyfile(path, target)
    return target


@pytest.mark.parametrize("device", ["cpu", "wasm"])
def test_reset_starts_everything_again(device, images, tmp_path):
    model = network()
    start = model.get_weights()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*images, epochs=2, verbose=0)
    model.save(tmp_path / "m.tide")
    file = read_model((tmp_path / "m.tide").read_bytes())
    assert {s.name for s in file.signatures} == {"train_step", "evaluate", "predict", "reset_metrics", "reset"}
    before = tensors(file)
    opened = open_model(file, device)
    opened.run("reset")
    after = tensors(opened.save_into())
    opened.close()
    assert after["adam/iterations"] == 0 and before["adam/iterations"] == 6
    seed = after["dropout/seed_generator"]
    assert seed[:2].tolist() == before["dropout/seed_generator"][:2].tolist() and seed[2:].tolist() == [0, 0]
    assert not any(v.any() for n, v in after.items() if n.startswith(("adam/m", "adam/v", "metrics")))
    names = ["conv2d/kernel", "batch_normalization/gamma", "batch_normalization/beta"]
    names += ["batch_normalization/moving_mean", "batch_normalization/moving_variance", "conv2d_1/kernel"]
    for name, value in zip(names, start, strict=False):
        np.testing.assert_allclose(after[name], value.reshape(-1), atol=1e-6, err_msg=name)


def test_a_compiled_model_is_saved_with_its_training_step_before_any_training(images, tmp_path):
    x, y = images
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(tmp_path / "m.tide")
    opened = open_model(read_model((tmp_path / "m.tide").read_bytes()), "wasm")
    results = opened.run("train_step", {"x": x[:32], "y": y[:32], "learning_rate": 1e-3})
    expected = model.train_on_batch(x[:32], y[:32], return_dict=True)
    assert {k: float(v) for k, v in results.items()} == pytest.approx(expected, rel=1e-4)
    opened.close()


def test_two_branches_with_equal_layer_names_are_kept_apart(tmp_path):
    def branch():
        return K.Sequential([L.Input((3,)), L.Dense(2, name="same")])

    x = L.Input((3,))
    model = K.Model(x, L.Add()([branch()(x), branch()(x)]))
    data = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    model.save(tmp_path / "m.tide")
    again = K.models.load_model(tmp_path / "m.tide")
    np.testing.assert_allclose(again.predict(data, verbose=0), model.predict(data, verbose=0), atol=1e-6)


def test_settings_of_compile_come_back(rows, tmp_path):
    model = K.Sequential([L.Input((5,)), L.Dense(1, kernel_regularizer=K.regularizers.L2(0.1))])
    optimizer = K.optimizers.AdamW(0.02, weight_decay=0.1, clipnorm=1.0)
    model.compile(
        optimizer, K.losses.Huber(0.5), metrics=["mae", K.metrics.RootMeanSquaredError()], weighted_metrics=["mse"]
    )
    model.fit(*rows, verbose=0)
    model.save(tmp_path / "m.tide")
    again = K.models.load_model(tmp_path / "m.tide")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    found = model.evaluate(*rows, verbose=0, return_dict=True)
    assert again.evaluate(*rows, verbose=0, return_dict=True) == pytest.approx(found, rel=1e-5)
    assert K.models.load_model(tmp_path / "m.tide", compile=False).optimizer is None


def test_saving_again_compiles_nothing_and_holds_the_newest_values(images, tmp_path, monkeypatch):
    model = trained(images)
    model.save(tmp_path / "m.tide")
    model.optimizer.learning_rate = 0.25
    model.fit(*images, verbose=0)
    monkeypatch.setattr("tideflow.keras.engine.compile_model", None)
    model.save(tmp_path / "m.tide")
    file = read_model((tmp_path / "m.tide").read_bytes())
    (rate,) = (p for s in file.signatures for p in s.inputs if p.name == "learning_rate")
    assert rate.fill == 0.25 and tensors(file)["adam/iterations"] == 9
    again = K.models.load_model(tmp_path / "m.tide")
    assert float(again.optimizer.learning_rate.numpy()) == 0.25
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_saving_twice_gives_the_same_bytes(images, tmp_path):
    model = trained(images)
    model.save(tmp_path / "a.tide")
    model.save(tmp_path / "b.tide")
    assert (tmp_path / "a.tide").read_bytes() == (tmp_path / "b.tide").read_bytes()


def test_wrong_files_are_refused_and_change_nothing(rows, tmp_path):
    model = K.Sequential([L.Input((5,)), L.Dense(2)])
    model.save_weights(tmp_path / "w.tide")
    other = K.Sequential([L.Input((5,)), L.Dense(3), L.Dense(1)])
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"'dense/kernel' is F32 of shape \(5, 2\) in the file, F32 of shape \(5, 3\)"):
        other.load_weights(tmp_path / "w.tide")
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))
    other.load_weights(tmp_path / "w.tide", skip_mismatch=True)
    with pytest.raises(ValueError, match="no Keras model"):
        K.models.load_model(tmp_path / "w.tide")
    with pytest.raises(ValueError, match=r"\.tide"):
        model.save(tmp_path / "m.h5")
    with pytest.raises(FileNotFoundError):
        K.models.load_model(tmp_path / "none.tide")
    (tmp_path / "cut.tide").write_bytes((tmp_path / "w.tide").read_bytes()[:200])
    with pytest.raises(ModelError):
        model.load_weights(tmp_path / "cut.tide")
    with pytest.raises(FileExistsError):
        model.save(tmp_path / "w.tide", overwrite=False)


def test_unknown_and_lambda_functions_are_refused(tmp_path):
    model = K.Sequential([L.Input((5,)), L.Dense(2, activation=lambda x: x)])
    with pytest.raises(ValueError, match="lambda"):
        model.save(tmp_path / "m.tide")
    with pytest.raises(ValueError, match="has not been called"):
        K.Sequential([L.Dense(2)]).save(tmp_path / "m.tide")
