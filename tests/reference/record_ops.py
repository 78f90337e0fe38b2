"""Records TensorFlow's answers to the expressions of op_cases.py.

<a Python with TensorFlow 2.21> tests/reference/record_ops.py
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import tensorflow as tf
from op_cases import all_cases, answer

recorded = {
    f"{name}|{part}": value
    for name, function, arrays in all_cases()
    for part, value in answer(tf, function, arrays).items()
}
np.savez_compressed(Path(__file__).with_name("ops.npz"), **recorded)
print(len(recorded), "arrays by TensorFlow", tf.__version__)
for key, value in recorded.items():
    if key.endswith("|error") != key.startswith("error "):
        print("look at", key, value)
