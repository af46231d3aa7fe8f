"""Checks that a Parquet file has what its footer says, while pyarrow reads it.

pyarrow can't: it believes the footer, so it returns as many rows as that claims whatever the pages hold; it unpacks a
whole page before anybody could ask for its size; it has no function for the headers of pages; and it ends the process
when it is asked for a column that is encrypted or damaged.

The headers (https://parquet.apache.org/docs/file-format/data-pages/) say how many values there really are, and how
large a page gets. `footer.row_groups` reads a footer, and `headers.PagedFile` is a file for pyarrow to read.
"""
