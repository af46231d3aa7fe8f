"""A Dask cluster that lives as long as a `with`: local, remote, or ephemeral on Kubernetes. It knows no orders."""
