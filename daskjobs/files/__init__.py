"""Files of any storage that fsspec reaches, their hashes, and Parquet."""
