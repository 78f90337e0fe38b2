"""The ops, one file per family. Importing this package registers all of them."""

from importlib import import_module

FAMILIES = (
    "elementwise",
    "unary",
    "comparison",
    "transcendental",
    "activation",
    "reduce",
    "linalg",
    "movement",
    "slicing",
    "gather",
    "conv",
    "pool",
    "pool_places",
    "softmax",
    "normalize",
    "losses",
    "optimizer",
    "random",
    "sort",
)

for _family in FAMILIES:
    import_module(f"{__name__}.{_family}")

__all__ = ["FAMILIES"]
