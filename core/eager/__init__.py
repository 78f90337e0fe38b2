"""Tensors and variables that have their values now."""
