"""tf.keras.config and tf.keras.backend."""

import pytest
import tideflow as tf


def test_settings_are_those_of_keras():
    assert tf.keras.backend.epsilon() == tf.keras.config.epsilon() == 1e-7
    tf.keras.config.set_epsilon(1e-5)
    try:
        assert tf.keras.backend.epsilon() == 1e-5
    finally:
        tf.keras.config.set_epsilon(1e-7)
    assert tf.keras.config.floatx() == "float32" and tf.keras.config.image_data_format() == "channels_last"


def test_settings_that_cannot_be_had_say_what_to_do():
    tf.keras.config.set_floatx("float32")
    tf.keras.config.set_image_data_format("channels_last")
    with pytest.raises(NotImplementedError, match="float32"):
        tf.keras.config.set_floatx("float16")
    with pytest.raises(NotImplementedError, match="moveaxis"):
        tf.keras.config.set_image_data_format("channels_first")


def test_clear_session_starts_names_again():
    tf.keras.backend.clear_session()
    assert tf.keras.layers.Dense(1).name == "dense"
