"""TensorFlow's exception types, and the few that only a device or a model file can raise.

Every message says what happened, what was received, what was expected and how to fix it.
"""


class OpError(Exception):
    """The base of the errors that an operation raises. `message` is the text; `node_def` and `op` are always None
    here.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.node_def = None
        self.op = None


class OperatorNotAllowedInGraphError(TypeError):
    """Python asked a tensor for its value while a function is traced."""


class CancelledError(OpError):
    """The operation was cancelled."""


class InvalidArgumentError(OpError):
    """An argument has the wrong shape, dtype or value."""


class NotFoundError(OpError):
    """A requested file, op or entity does not exist."""


class OutOfRangeError(OpError):
    """An iterator is exhausted or an index is past the end."""


class FailedPreconditionError(OpError):
    """The system is in the wrong state, for example a variable without a value."""


class ResourceExhaustedError(OpError):
    """Out of memory or out of a device's quota."""


class UnimplementedError(OpError):
    """The operation is not available; the message names the alternative."""


class InternalError(OpError):
    """An invariant of Tideflow itself is broken: please report it."""


class DataLossError(OpError):
    """Stored data is corrupt."""


class ModelError(DataLossError):
    """A model file breaks a rule of the format.

    `rule` is the short name of the rule (the same in Python and JavaScript), `where` the field, `why` the reason.
    """

    def __init__(self, rule: str, where: str, why: str) -> None:
        super().__init__(f"{rule}: {where}: {why}")
        self.rule = rule
        self.where = where
        self.why = why


class NoExecutorError(FailedPreconditionError):
    """Nothing here can run this program; the message names what to install."""


class DeviceLimitError(ResourceExhaustedError):
    """A program needs more than this device allows."""


class DeviceLostError(FailedPreconditionError):
    """The device went away; eager values that lived on it are gone."""


class DeviceHungError(DeviceLostError):
    """A step did not answer in time and the device was destroyed."""
