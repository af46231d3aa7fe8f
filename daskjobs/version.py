"""The version of this package, which manifests name."""

__version__ = "0.8.0"
