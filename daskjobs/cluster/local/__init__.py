"""Dask workers on this machine, which only the process that starts them can use."""
