"""Dask workers on this machine, that only the process which starts them can use."""
