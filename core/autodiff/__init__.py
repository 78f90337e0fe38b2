"""Gradients: the reverse walk over recorded ops, and the tape."""
