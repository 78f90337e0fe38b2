"""Metrics that count right and wrong decisions at thresholds: precision, recall, the area under a curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...eager.tensor import constant
from ...ops.dispatch import apply
from ...ops.reduce import reduce_sum
from ...shapes import num_elements
from ..losses.pairs import EPSILON, pair
from .metric import Metric, floating

__all__ = ["AUC", "FalseNegatives", "FalsePositives", "Precision", "Recall", "TrueNegatives", "TruePositives"]

KINDS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


class Confusion(Metric):
    """The base: counts (sums of weights) of each kind of decision, at one or several thresholds."""

    kinds: tuple[str, ...] = KINDS

    def __init__(self, thresholds: Any, name: str | None, dtype: Any) -> None:
        super().__init__(dtype, name)
        self.several = isinstance(thresholds, Sequence | np.ndarray)
        self.thresholds = [float(t) for t in (thresholds if self.several else [thresholds])]
        self.counts = {kind: self.add_variable((len(self.thresholds),), name=kind) for kind in self.kinds}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = pair(y_true, y_pred)
        weight = None
        if sample_weight is not None:
            weight = floating(sample_weight)
            weight = apply("reshape", weight, shape=(*weight.sizes, *(1,) * (len(y_pred.sizes) - len(weight.sizes))))
            weight = _column(apply("broadcast_to", weight, shape=y_pred.sizes))
        limits = constant(np.asarray(self.thresholds, np.float32))
        chosen = apply("cast", apply("greater", _column(y_pred), limits), dtype="float32")
        true = apply("cast", apply("greater", _column(y_true), 0.0), dtype="float32")
        for kind, total in self.counts.items():
            said = chosen if kind.endswith("positives") else 1.0 - chosen
            agrees = kind.startswith("true") == kind.endswith("positives")
            value = said * (true if agrees else 1.0 - true)
            total.assign_add(reduce_sum(value if weight is None else value * weight, (0,)))

    def _answer(self, values: Any) -> Any:
        return values if self.several else apply("reshape", values, shape=())


def _column(x: Any) -> Any:
    return apply("reshape", x, shape=(num_elements(x.sizes), 1))


class _Counted(Confusion):
    """One kind of decision."""

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(0.5 if thresholds is None else thresholds, name, dtype)
        self._given = thresholds

    def result(self) -> Any:
        return self._answer(self.counts[self.kinds[0]].value())

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self._given}


class TruePositives(_Counted):
    """The number of positives that were found."""

    kinds = ("true_positives",)


class FalsePositives(_Counted):
    """The number of negatives taken for positives."""

    kinds = ("false_positives",)


class TrueNegatives(_Counted):
    """The number of negatives that were found."""

    kinds = ("true_negatives",)


class FalseNegatives(_Counted):
    """The number of positives taken for negatives."""

    kinds = ("false_negatives",)


class _Share(Confusion):
    """True positives over true positives and another kind."""

    def __init__(
        self,
        thresholds: Any = None,
        top_k: Any = None,
        class_id: Any = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        for text, value in (("top_k", top_k), ("class_id", class_id)):
            if value is not None:
                raise NotImplementedError(
                    f"{type(self).__name__}: {text} is not available yet; leave it out and slice "
                    f"y_true and y_pred in a metric of your own"
                )
        super().__init__(0.5 if thresholds is None else thresholds, name, dtype)
        self._given = thresholds

    def result(self) -> Any:
        hits = self.counts[self.kinds[0]].value()
        return self._answer(apply("divide_no_nan", hits, hits + self.counts[self.kinds[1]]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": self._given, "top_k": None, "class_id": None}


class Precision(_Share):
    """The share of right ones among those that were taken for positives."""

    kinds = ("true_positives", "false_positives")


class Recall(_Share):
    """The share of positives that were found."""

    kinds = ("true_positives", "false_negatives")


class AUC(Confusion):
    """The area under the ROC or the precision-recall curve, from decisions at many thresholds."""

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ) -> None:
        if curve not in ("ROC", "PR"):
            raise ValueError(f"Invalid `curve` argument value \"{curve}\". Expected one of: ['ROC', 'PR']")
        if multi_label or summation_method != "interpolation":
            raise NotImplementedError(
                "AUC: multi_label and other summation methods are not available yet; use one AUC "
                "per label, summation_method='interpolation'"
            )
        if num_thresholds <= 1:
            raise ValueError(
                f"Argument `num_thresholds` must be an integer > 1. Received: num_thresholds={num_thresholds}"
            )
        inner = (
            [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)] if thresholds is None else thresholds
        )
        super().__init__([-EPSILON, *sorted(inner), 1.0 + EPSILON], name, dtype)
        self.curve, self.from_logits = curve, from_logits
        self._config = {
            "num_thresholds": num_thresholds,
            "curve": curve,
            "summation_method": summation_method,
            "thresholds": thresholds,
            "from_logits": from_logits,
        }

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        super().update_state(y_true, apply("sigmoid", floating(y_pred)) if self.from_logits else y_pred, sample_weight)

    def result(self) -> Any:
        tp, fp, tn, fn = (self.counts[kind].value() for kind in KINDS)
        if self.curve == "PR":
            return self._interpolated(tp, fp, fn)
        recall, wrong = (apply("divide_no_nan", a, a + b) for a, b in ((tp, fn), (fp, tn)))
        return reduce_sum((wrong[:-1] - wrong[1:]) * (recall[:-1] + recall[1:]) * 0.5, None)

    def _interpolated(self, tp: Any, fp: Any, fn: Any) -> Any:
        """Precision between two thresholds follows the line between their counts (Davis and Goadrich, 2006)."""
        taken = tp + fp
        more, more_taken = tp[:-1] - tp[1:], taken[:-1] - taken[1:]
        slope = apply("divide_no_nan", more, apply("maximum", more_taken, 0.0))
        intercept = tp[1:] - slope * taken[1:]
        both = apply("logical_and", taken[:-1] > 0.0, taken[1:] > 0.0)
        ratio = apply("divide_no_nan", taken[:-1], apply("maximum", taken[1:], 0.0))
        logs = apply("log", apply("select", both, ratio, ratio * 0.0 + 1.0))
        part = slope * (more + intercept * logs)
        return reduce_sum(apply("divide_no_nan", part, apply("maximum", tp[1:] + fn[1:], 0.0)), None)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self._config}
