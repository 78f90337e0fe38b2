"""The base of metrics: sums kept in variables, so that they stay on the device, and results computed from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dtypes import as_dtype
from ...eager.variable import Variable, current_trace
from ...ops.dispatch import apply, convert
from ...ops.movement import dimension
from ...ops.reduce import reduce_sum
from ...shapes import num_elements
from .. import losses, masking, registry
from ..losses.loss import reduce_values
from ..naming import snake_case, unique_name
from . import functions

__all__ = ["Mean", "MeanMetricWrapper", "Metric", "Sum", "floating"]


class Metric:
    """The base: `update_state` adds to variables, `result` computes from them, `reset_state` starts again."""

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.name = name or unique_name(snake_case(type(self).__name__))
        self._dtype = as_dtype(dtype or "float32").name
        self._variables: list[Variable] = []

    @property
    def dtype(self) -> str:
        """The element type of its variables."""
        return self._dtype

    def add_variable(
        self, shape: Any, initializer: Any = None, dtype: Any = None, aggregation: Any = None, name: str | None = None
    ) -> Variable:
        """A variable of this metric, 0 at the start."""
        variable = Variable(
            np.zeros(tuple(shape), as_dtype(dtype or self._dtype).numpy),
            trainable=False,
            name=f"{self.name}/{name or 'variable'}",
            role="METRIC",
        )
        self._variables.append(variable)
        return variable

    add_weight = add_variable

    @property
    def variables(self) -> list[Variable]:
        """Its variables."""
        return list(self._variables)

    def reset_state(self) -> None:
        """All variables become 0."""
        traced = current_trace() is not None
        for v in self._variables:
            zeros = np.zeros(v.sizes, v.dtype.numpy)
            if traced:
                v.assign(zeros)
            else:
                v.state.write(zeros)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Takes a batch in."""
        raise NotImplementedError

    def result(self) -> Any:
        """The value over all batches since the start."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Takes a batch in and gives the result."""
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """What makes an equal one."""
        return {"name": self.name, "dtype": self._dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A metric of this configuration."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class Sum(Metric):
    """The (weighted) sum of values."""

    def __init__(self, name: str = "sum", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable((), name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        self.total.assign_add(reduce_values(floating(values), sample_weight, "sum"))

    def result(self) -> Any:
        return self.total.value()


class Mean(Metric):
    """The (weighted) mean of values."""

    def __init__(self, name: str = "mean", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable((), name="total")
        self.count = self.add_variable((), name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values = floating(values)
        self.total.assign_add(reduce_values(values, sample_weight, "sum"))
        if sample_weight is None:
            self.count.assign_add(dimension(num_elements(values.sizes), "float32"))
        else:
            weight = floating(sample_weight)
            elements = num_elements(values.sizes)
            if num_elements(weight.sizes) == elements:
                self.count.assign_add(reduce_sum(weight, None))
            else:
                inner = num_elements(values.sizes[len(weight.sizes) :])
                self.count.assign_add(reduce_sum(weight, None) * dimension(inner, "float32"))

    def result(self) -> Any:
        return apply("divide_no_nan", self.total, self.count)


class MeanMetricWrapper(Mean):
    """The mean of a function of (y_true, y_pred)."""

    def __init__(self, fn: Any, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(name or str(getattr(fn, "__name__", "metric")), dtype)
        self._fn, self._keywords = fn, kwargs

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        weight = masking.masked_weight(sample_weight, y_pred, "float32", "sum")
        super().update_state(self._fn(y_true, y_pred, **self._keywords), weight)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), **self._keywords}
        if type(self) is MeanMetricWrapper:
            config["fn"] = registry.serialize(self._fn)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        if cls is MeanMetricWrapper:
            config = {**config, "fn": find_function(config["fn"])}
        return cls(**config)


def floating(x: Any) -> Any:
    """A tensor of x, of a floating dtype."""
    x = convert(x)
    return x if x.dtype.is_floating else apply("cast", x, dtype="float32")


def find_function(identifier: Any) -> Any:
    """A function of metrics or losses by its name."""
    known = losses.KNOWN | {n: getattr(functions, n) for n in functions.__all__}
    return registry.get(identifier, known, "metric")
