"""From a graph to programs."""
