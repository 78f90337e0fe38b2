"""tf.config, tf.test, tf.debugging, tf.nest, tf.Module and the small names; what is absent says what to use instead."""

import io
from collections import namedtuple

import numpy as np
import pytest
import tideflow as tf


def test_config_lists_the_processor_and_no_emulated_gpu(monkeypatch):
    from tideflow.runtime import discover

    assert [d.device_type for d in tf.config.list_physical_devices("CPU")] == ["CPU"]
    assert tf.config.list_logical_devices("CPU")[0].name == "/device:CPU:0"
    assert tf.config.list_physical_devices("TPU") == []
    monkeypatch.setitem(discover._found, "GPU:0", discover.Found("GPU:0", True, True, "software"))
    assert tf.config.list_physical_devices("GPU") == [] and tf.test.gpu_device_name() == ""
    assert not tf.test.is_gpu_available()
    monkeypatch.setitem(discover._found, "GPU:0", discover.Found("GPU:0", True, False, "real"))
    assert len(tf.config.list_physical_devices("GPU")) == 1 and tf.test.gpu_device_name() == "/device:GPU:0"


def test_run_functions_eagerly_runs_the_python_function():
    seen = []

    @tf.function
    def f(x):
        seen.append(type(x).__name__)
        return x + 1.0

    tf.config.run_functions_eagerly(True)
    try:
        assert tf.config.functions_run_eagerly() and float(f(tf.constant(1.0))) == 2.0
    finally:
        tf.config.run_functions_eagerly(False)
    assert seen == ["EagerTensor"]


@pytest.mark.parametrize(("check", "good", "bad"), [
    ("assert_equal", (1, 1), (1, 2)), ("assert_none_equal", (1, 2), (1, 1)), ("assert_greater", (2, 1), (1, 1)),
    ("assert_greater_equal", (1, 1), (0, 1)), ("assert_less", (1, 2), (1, 1)), ("assert_less_equal", (1, 1), (2, 1)),
    ("assert_near", (1.0, 1.0000001), (1.0, 1.1)),
])
def test_comparisons_raise_with_the_place(check, good, bad):
    getattr(tf.debugging, check)(*good)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"did not hold. First at position \(1,\)"):
        getattr(tf.debugging, check)([good[0], bad[0]], [good[1], bad[1]])


def test_signs_shapes_and_finiteness_are_checked():
    x = tf.constant([[1.0, -2.0]])
    tf.debugging.assert_shapes([(x, (1, "n")), (x[0], ("n",))])
    for bad in (lambda: tf.debugging.assert_shapes([(x, (2, None))]), lambda: tf.debugging.assert_rank(x, 1),
                lambda: tf.debugging.assert_rank_at_least(x, 3), lambda: tf.debugging.assert_scalar(x)):
        with pytest.raises(ValueError):
            bad()
    for wrong in (tf.debugging.assert_positive, tf.debugging.assert_non_negative):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"x = -2\.0"):
            wrong(x)
    with pytest.raises(TypeError, match="int32"):
        tf.debugging.assert_type(x, tf.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"bad : Tensor had Inf and NaN values, first at"):
        tf.debugging.check_numerics(tf.constant([[1.0, 0.0, -1.0]])[:, 1:] * np.inf, "bad")
    assert tf.debugging.check_numerics(x, "fine") is x


def test_checks_of_values_inside_a_function_say_that_they_are_left_out():
    @tf.function
    def f(x):
        tf.debugging.assert_positive(x)
        tf.debugging.assert_rank(x, 1)
        return x

    with pytest.warns(RuntimeWarning, match="assert_positive inside a tf.function is not checked"):
        f(tf.constant([-1.0]))


def test_nest_flattens_by_sorted_keys_and_packs_again():
    pair = namedtuple("pair", "left right")
    structure = {"b": [1, (2, 3)], "a": pair(4, {"c": 5})}
    assert tf.nest.flatten(structure) == [4, 5, 1, 2, 3]
    assert tf.nest.pack_sequence_as(structure, [4, 5, 1, 2, 3]) == structure
    assert list(tf.nest.map_structure(lambda a, b: a + b, structure, structure)) == ["b", "a"]
    assert tf.nest.map_structure(lambda a: 2 * a, structure)["a"] == pair(8, {"c": 10})
    with pytest.raises(ValueError, match="5 leaves, the sequence 2"):
        tf.nest.pack_sequence_as(structure, [1, 2])
    with pytest.raises(ValueError):
        tf.nest.map_structure(lambda a, b: a, [1, 2], [1])
    with pytest.raises(TypeError):
        tf.nest.assert_same_structure([1], (1,))


def test_module_finds_each_variable_once():
    class Inner(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(1.0)
            self.steps = tf.Variable(0, trainable=False)

    class OuterModel(tf.Module):
        def __init__(self):
            super().__init__()
            self.parts = [Inner(), Inner()]
            self.again = self.parts[0].w
            self.by_name = {"z": tf.Variable(2.0)}
            self.me = self

    m = OuterModel()
    assert m.name == "outer_model"
    assert len(m.variables) == 5 and len(m.trainable_variables) == 3 and len(m.non_trainable_variables) == 2
    assert m.submodules == tuple(m.parts)
    with pytest.raises(ValueError, match="not a valid module name"):
        tf.Module("a b")


def test_print_writes_values():
    out = io.StringIO()
    tf.print("x", tf.constant([1, 2]), {"a": tf.constant(1.5)}, output_stream=out)
    assert out.getvalue().startswith("x [1 2] {'a': ") and out.getvalue().endswith("}\n")


def test_small_names():
    with tf.name_scope("a") as scope, tf.control_dependencies([]):
        assert scope == "a/"
    assert tf.get_static_value(tf.constant(3)) == 3 and tf.no_op() is None and tf.group(1, 2) is None
    assert tf.optimizers.Adam is tf.keras.optimizers.Adam
    assert tf.zeros_initializer()([2]).numpy().tolist() == [0.0, 0.0]

    @tf.function
    def f(x):
        with tf.init_scope():
            assert tf.executing_eagerly()
        assert tf.get_static_value(x) is None
        return x

    f(tf.constant(1.0))


@pytest.mark.parametrize(("name", "text"), [
    ("data", "Instead: Model.fit takes"), ("SparseTensor", "TensorFlow does"),
    ("reduce_summ", "did you mean tf.reduce_sum"),
    ("nonsense_xyz", "has no attribute 'nonsense_xyz'"),
])
def test_absent_names_say_what_to_use(name, text):
    with pytest.raises(AttributeError, match=text):
        getattr(tf, name)


def test_table_of_absent_names_names_nothing_that_is_there():
    from tideflow.absent import INSTEAD, KNOWN

    assert not [n for n in (*INSTEAD, *KNOWN) if n in vars(tf) or n in tf._LAZY]


def test_doctor_reports_devices(capsys):
    from tideflow.__main__ import main

    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "CPU:0   yes" in text and "default" in text and "numpy" in text
