"""tf.keras.config: Keras' settings. The ones that would need other kernels are fixed here, and say so."""

from __future__ import annotations

__all__ = ["backend", "epsilon", "floatx", "image_data_format", "set_epsilon", "set_floatx", "set_image_data_format"]

_epsilon = 1e-7


def backend() -> str:
    """Which library computes."""
    return "tideflow"


def epsilon() -> float:
    """A small number for divisions in own code; what layers and optimizers add has arguments of its own."""
    return _epsilon


def set_epsilon(value: float) -> None:
    """Sets what `epsilon` gives."""
    global _epsilon
    _epsilon = float(value)


def floatx() -> str:
    """The dtype of weights and of floats."""
    return "float32"


def set_floatx(value: str) -> None:
    """Raises NotImplementedError for anything but float32, which kernels compute with."""
    if value != "float32":
        raise NotImplementedError(f"set_floatx({value!r}): kernels compute in float32. Remove the call.")


def image_data_format() -> str:
    """The axis of channels in images: last."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Raises NotImplementedError for anything but "channels_last"; layers take `data_format` each."""
    if data_format != "channels_last":
        raise NotImplementedError(
            f"set_image_data_format({data_format!r}): pass data_format to the layers, or "
            "transpose the images: np.moveaxis(x, 1, -1)."
        )
