"""tf.function: tracing Python once and running what was traced."""
