"""Maps the top-level folders to one package. New sub-packages need no edit here."""
from setuptools import find_packages, setup

ROOTS = {"tideflow": "core", **{f"tideflow.{folder}": folder for folder in ("gpu_wgsl", "wasm", "js_bindings")}}
setup(
    packages=[p for name, root in ROOTS.items() for p in [name, *(f"{name}.{sub}" for sub in find_packages(root))]],
    package_dir=ROOTS,
)
