"""The command line: `python -m tideflow inspect model.tide`, `python -m tideflow run model.tide --input digits.npy`.

A command is a module with `add_arguments(parser)` and `run(arguments) -> exit status`; to add one, add a line to
COMMANDS. Only the module of the chosen command is imported.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from . import version

COMMANDS = {
    "inspect": ("program.inspect", "print what a model file holds: signatures, kernels, steps, memory"),
    "doctor": ("doctor", "say what is installed and which devices are here"),
    "run": ("run_command", "run one signature of a model file on arrays"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="tideflow", description="TensorFlow 2 in a browser tab, on a GPU and at the edge."
    )
    parser.add_argument("--version", action="version", version=f"tideflow {version.RELEASE}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((a for a in arguments if not a.startswith("-")), None)
    module = None
    for name, (path, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:
            module = importlib.import_module(f".{path}", __package__)
            module.add_arguments(command)
    parsed = parser.parse_args(arguments)
    if module is None:
        return 2
    try:
        return int(module.run(parsed) or 0)
    except BrokenPipeError:                    # the reader, `head` for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
