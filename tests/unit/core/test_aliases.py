"""install_as_tensorflow: every way to import gives the same module objects. In processes of their own."""

import subprocess
import sys

import pytest

START = "import tideflow; tideflow.install_as_tensorflow(); "


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter."""
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)


def test_all_ways_to_import_give_the_same_classes():
    done = run(START + """
import tensorflow as tf
import tensorflow.keras.layers as layers
import keras
from keras.layers import Dense
from tensorflow import keras as same
from tensorflow.keras.models import Sequential
from tensorflow.keras.optimizers import Adam
from keras.callbacks import EarlyStopping
import tensorflow.config, tensorflow.random
assert tf is tideflow and keras is same is tideflow.keras and layers is tideflow.keras.layers
assert Dense is tideflow.keras.layers.Dense and Sequential is tideflow.keras.Sequential
assert Adam is tideflow.keras.optimizers.Adam and EarlyStopping is tideflow.keras.callbacks.EarlyStopping
assert tensorflow.random is tideflow.random and tf.config is tideflow.config
assert tideflow.keras.__spec__.name == "tideflow.keras" and tideflow.__spec__.name == "tideflow"
tideflow.install_as_tensorflow()
assert not [name for name in sys.modules if name.startswith(("tensorflow.", "keras.")) and "tideflow" not in
            sys.modules[name].__name__] if (sys := __import__("sys")) else True
""")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("code", "text"), [
    ("import tensorflow.data", "Instead: Model.fit takes"),
    ("import tensorflow.python.framework", "no attribute 'python'"),
    ("import tensorflow.Variable", "is not a module"),
])
def test_absent_modules_say_what_to_use(code, text):
    done = run(START + code)
    assert done.returncode and "ModuleNotFoundError" in done.stderr and text in done.stderr


def test_what_is_loaded_already_is_not_replaced():
    done = run("import sys, types; sys.modules['keras'] = types.ModuleType('keras'); " + START)
    assert done.returncode and "keras is already imported" in done.stderr
