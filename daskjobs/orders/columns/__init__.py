"""What the columns of a run's orders hold: seen a block at a time, merged, and told in report/columns.json."""
