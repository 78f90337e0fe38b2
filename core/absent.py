"""What TensorFlow has and Tideflow does not (yet): the text of the error says so, and what to use instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["explanation"]

INSTEAD = {
    "audio": "decode audio with scipy or the browser's Web Audio and pass arrays",
    "autograph": "tf.function traces Python as it is: use tf.where for choices that depend on values",
    "compat": "the TensorFlow 1 interface is not offered; use eager code and tf.function",
    "custom_gradient": "write the function so that its gradient is the wanted one, for example with tf.stop_gradient",
    "data": "Model.fit takes arrays and generators of batches",
    "distribute": "one device runs a model; choose it with tf.device",
    "estimator": "estimators were removed from TensorFlow 2.16; use tf.keras",
    "image": "prepare images with numpy before training; tf.keras.layers has Rescaling",
    "io": "read files with Python's open, arrays with numpy.load",
    "lite": "Model.save('model.tide') writes the file that runs at the edge",
    "numpy_function": "compute with numpy before the call; a compiled program cannot call Python",
    "py_function": "compute with numpy before the call; a compiled program cannot call Python",
    "ragged": "pad rows to one length, with tf.pad or numpy",
    "saved_model": "Model.save('model.tide') and tf.keras.models.load_model write and read models",
    "sparse": "use dense tensors, tf.gather and tf.scatter_nd",
    "strings": "prepare text with Python before training",
    "summary": "Model.fit returns a History; CSVLogger writes it to a file",
    "train": "Model.save('model.tide') and Model.save_weights hold weights and optimizer state",
    "vectorized_map": "write the function for a whole batch",
}

# the other names of `tf.` in TensorFlow 2.21
KNOWN = frozenset(
    """
AggregationMethod CriticalSection DeviceSpec Graph IndexedSlices IndexedSlicesSpec NoneTensorSpec Operation
OptionalSpec RaggedTensor RaggedTensorSpec RegisterGradient SparseTensor SparseTensorSpec TensorArray TensorArraySpec
TypeSpec VariableAggregation VariableSynchronization approx_top_k as_string audio autograph batch_to_space bfloat16
bitcast bitwise check_pinned complex complex128 complex64 conv conv2d_backprop_filter_v2 conv2d_backprop_input_v2
custom_gradient data distribute dynamic_partition dynamic_stitch edit_distance eig eigvals experimental
extract_volume_patches feature_column fftnd fingerprint get_current_name_scope get_logger grad_pass_through gradients
guarantee_const hessians histogram_fixed_width histogram_fixed_width_bins ifftnd image import_graph_def
inside_function io irfftnd is_symbolic_tensor lite load_library load_op_library lookup make_ndarray make_tensor_proto
matrix_square_root no_gradient nondifferentiable_batch_function numpy_function parallel_stack profiler py_function
qint16 qint32 qint8 quantization quint16 quint8 ragged ragged_fill_empty_rows ragged_fill_empty_rows_grad
random_index_shuffle realdiv recompute_grad register_tensor_conversion_function required_space_to_batch_paddings
resource reverse_sequence rfftnd saved_model searchsorted sets signal space_to_batch space_to_batch_nd sparse strings
summary tensor_scatter_nd_max tensor_scatter_nd_min timestamp train truncatediv truncatemod tuple type_spec_from_value
unique_with_counts unravel_index variable_creator_scope variant vectorized_map
""".split()
)


def explanation(name: str, present: Iterable[str]) -> str:
    """The text of the AttributeError for `tf.name`.

    >>> explanation("data", [])[:36]
    "Tideflow has no tf.data yet. Instead"
    """
    if name in INSTEAD:
        return f"Tideflow has no tf.{name} yet. Instead: {INSTEAD[name]}."
    if name in KNOWN:
        return f"Tideflow has no tf.{name} yet: TensorFlow does, but it has not been written here."
    near = difflib.get_close_matches(name, [n for n in present if not n.startswith("_")], 1)
    return f"module 'tideflow' has no attribute {name!r}" + (f"; did you mean tf.{near[0]}?" if near else "")
