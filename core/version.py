"""Which TensorFlow this package follows, and which release of Tideflow it is."""

RELEASE = "0.1.0"
TENSORFLOW = "2.21.0"
VERSION = f"{TENSORFLOW}+tideflow.{RELEASE}"
__version__ = VERSION
