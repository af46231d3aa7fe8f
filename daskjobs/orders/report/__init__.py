"""quality.json and report.html."""
