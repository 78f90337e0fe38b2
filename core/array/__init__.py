"""The array functions that TensorFlow offers directly in `tf.`: making, shaping and indexing tensors."""

from . import indexing, making, shaping, sorting
from .indexing import *  # noqa: F403
from .making import *  # noqa: F403
from .shaping import *  # noqa: F403
from .sorting import *  # noqa: F403

__all__ = [*indexing.__all__, *making.__all__, *shaping.__all__, *sorting.__all__]
