"""Computations as data: the graph, its recorder, verifier and interpreter."""
