"""`python -m tideflow run model.tide --input digits.npy --device gpu|wasm|cpu`: runs one signature of a file.

    python -m tideflow run model.tide --input x=digits.npy --signature predict --output probabilities.npy
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from .errors import InvalidArgumentError, OpError
from .function.host import open_model
from .program.format import Model, Signature
from .program.read import read_model
from .runtime import discover

__all__ = ["add_arguments", "choose_signature", "device_for_file", "read_inputs", "run", "save_model", "save_outputs",
           "summary"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    parser.add_argument("model", type=Path, help="a .tide file")
    parser.add_argument("--input", action="append", default=[], metavar="[NAME=]FILE",
                        help="an .npy file, or an .npz file with one array per input; may be repeated")
    parser.add_argument("--output", type=Path, metavar="FILE", help="save the outputs: .npy for one, .npz for several")
    parser.add_argument("--signature", help="what to run; default: predict, or the only one that writes no state")
    parser.add_argument("--device", help="gpu, wasm or cpu; default: a real GPU, else the CPU")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS",
                        help="stop a WASM program that takes longer (default 60; 0: never, and twice as fast)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the model with its new state after the run")


def run(arguments: argparse.Namespace) -> int:
    """Runs a file and prints its outputs. Returns the exit status."""
    try:
        model = read_model(arguments.model.read_bytes())
        signature = choose_signature(model, arguments.signature)
        inputs = read_inputs(arguments.input, signature)
        name = discover.device_name(arguments.device or discover.default_device())
        with device_for_file(name, arguments.timeout) as device:
            started = time.perf_counter()
            executor = open_model(model, device)
            outputs = {name: np.asarray(value) for name, value in executor.run(signature.name, inputs).items()}
            elapsed = time.perf_counter() - started
            if arguments.save:
                save_model(arguments.save, executor.save_into(model))
            executor.close()
    except (OpError, OSError, ValueError) as error:
        print(f"tideflow run: {error}", file=sys.stderr)
        return 1
    print(f"{signature.name} on {name}, {elapsed * 1e3:.0f} ms with loading")
    for output, value in outputs.items():
        print(summary(output, value))
    if arguments.output:
        save_outputs(arguments.output, outputs)
    return 0


@contextmanager
def device_for_file(name: str, timeout: float) -> Iterator[Any]:
    """What `open_model` takes. WASM:0 gets a watchdog, since a file may hold any program."""
    if name != "WASM:0" or not timeout:
        yield name
        return
    device = discover.open_guarded(timeout)
    try:
        yield device
    finally:
        device.close()


def choose_signature(model: Model, name: str | None) -> Signature:
    """The named signature; without a name `predict`, or the only one that leaves the state as it is."""
    by_name = {signature.name: signature for signature in model.signatures}
    if name is None:
        pure = [signature.name for signature in model.signatures if not signature.writes]
        name = "predict" if "predict" in by_name else pure[0] if len(pure) == 1 else None
    if name not in by_name:
        given = f"has no signature {name!r}" if name else "does not say which signature to run"
        raise InvalidArgumentError(f"the file {given}. Pass --signature with one of {sorted(by_name)}.")
    return by_name[name]


def read_inputs(arguments: Sequence[str], signature: Signature) -> dict[str, np.ndarray]:
    """Arrays by input name; a file without a name is for the first input, an .npz names its own."""
    inputs: dict[str, np.ndarray] = {}
    for argument in arguments:
        name, separator, path = argument.partition("=")
        if not separator:
            name, path = "", argument
        try:
            loaded: Any = np.load(path, allow_pickle=False)
        except ValueError:
            raise InvalidArgumentError(f"{path} is not an .npy or .npz file of numbers.") from None
        if isinstance(loaded, np.ndarray):
            if not name and not signature.inputs:
                raise InvalidArgumentError(f"{signature.name} takes no inputs, given was {path}.")
            inputs[name or signature.inputs[0].name] = loaded
        else:
            inputs.update({key: loaded[key] for key in loaded.files})
    return inputs


def summary(name: str, value: np.ndarray) -> str:
    """One output in a line: its shape, and the values or where the largest of each row is."""
    text = f"  {name} {value.dtype}{list(value.shape)}"
    if value.size <= 10:
        return f"{text} {np.array2string(value, precision=4, suppress_small=True, separator=', ')}"
    if value.ndim == 2 and value.dtype.kind == "f":
        best = value.argmax(1)
        shown = " ".join(str(i) for i in best[:16]) + (" ..." if len(best) > 16 else "")
        return f"{text} largest in each row: {shown}"
    return f"{text} from {value.min():.6g} to {value.max():.6g}" if value.size else text


def save_outputs(path: Path, outputs: Mapping[str, np.ndarray]) -> None:
    """Writes one array as .npy, several as .npz."""
    if path.suffix == ".npz":
        np.savez(path, **cast(dict[str, Any], outputs))
    elif len(outputs) == 1:
        np.save(path, next(iter(outputs.values())))
    else:
        raise SystemExit(f"tideflow run: {len(outputs)} outputs ({', '.join(outputs)}) need a file that ends in .npz")


def save_model(path: Path, model: Model) -> None:
    """Writes a model file."""
    from .program.write import write_model

    path.write_bytes(write_model(model))
