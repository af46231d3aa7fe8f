"""Order analytics one can trust to the cent: Argo orchestrates, Dask parallelizes."""

__version__ = "0.4.0"
