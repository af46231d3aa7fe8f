"""A Dask cluster for as long as a `with`: local, given, or ephemeral on Kubernetes. It knows no orders."""
