"""tf.nn.experimental."""

from .dropping import stateless_dropout

__all__ = ["stateless_dropout"]
