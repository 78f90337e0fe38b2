"""Kernels as loop nests over expressions: what every emitter understands."""
