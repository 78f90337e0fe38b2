"""The file `model.tide`: its dataclasses, writer, verifying reader and memory planner."""
