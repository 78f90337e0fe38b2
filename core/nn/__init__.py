"""tf.nn: convolutions, pooling, activations, normalisation and losses, with TensorFlow's signatures.

Thin: arguments are converted here, the work is in the ops. Channels-first layouts ("NCHW") are transposed around the
op.
"""

from . import activation, choosing, convolve, dropping, experimental, loss, normalization, pooling
from .activation import *  # noqa: F403
from .choosing import *  # noqa: F403
from .convolve import *  # noqa: F403
from .dropping import *  # noqa: F403
from .loss import *  # noqa: F403
from .normalization import *  # noqa: F403
from .pooling import *  # noqa: F403

__all__ = [
    *activation.__all__,
    *choosing.__all__,
    *convolve.__all__,
    *dropping.__all__,
    *loss.__all__,
    *normalization.__all__,
    *pooling.__all__,
    "experimental",
]
