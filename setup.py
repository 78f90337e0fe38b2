"""Maps the top-level folders to one package. New sub-packages need no edit here."""
from setuptools import find_packages, setup

ROOTS = {"tideflow": "core", "tideflow.gpu_wgsl": "gpu_wgsl", "tideflow.wasm": "wasm", "tideflow.js_bindings": "js_bindings"}
setup(
    packages=[p for name, root in ROOTS.items() for p in [name, *(f"{name}.{sub}" for sub in find_packages(root))]],
    package_dir=ROOTS,
)
