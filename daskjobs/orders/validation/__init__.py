"""Checks rows: of a block, of a partition, and for repeated ids across partitions."""
