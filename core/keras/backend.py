"""tf.keras.backend: what is left of it in Keras 3."""

from .config import epsilon, floatx, image_data_format, set_epsilon, set_floatx, set_image_data_format
from .naming import clear_session

__all__ = [
    "clear_session",
    "epsilon",
    "floatx",
    "image_data_format",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
]
