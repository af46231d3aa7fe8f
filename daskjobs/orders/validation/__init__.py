"""Checking rows: a block, a partition, and repeated ids across partitions."""
