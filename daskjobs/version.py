"""The version of this package, which manifests name."""

__version__ = "0.9.0"
