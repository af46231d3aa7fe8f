"""The names of the files of a run that later runs read: the stages write them, and a series looks for them."""

from daskjobs.pipeline.stage import numbered

PARTITIONS, EARLIER = "split/partitions.json", "split/earlier.json"
PARTITION_FILES = {
    "paid": "validate/part-*/paid.parquet",
    "unpaid": "validate/part-*/unpaid.parquet",
    "quarantine": "validate/part-*/quarantine.parquet",
    "ids": "validate/part-*/ids.pieces",
    "summary": "validate/part-*/summary.parquet",
    "seen": "validate/part-*/seen.parquet",
    "columns": "validate/part-*/columns.arrow",
    "result": "validate/part-*/result.json",
}
RULES, WARNED = "validate/rules.json", "validate/part-*/warned.parquet"
QUARANTINE_PARQUET = "merge/quarantine.parquet"
SEEN_CSV = "merge/seen_before.csv"
CORRECTIONS, CORRECTIONS_CSV = "merge/corrections.parquet", "merge/corrections.csv"
SUMMARY = "clean/summary.parquet"
REPORT, QUALITY, PAGE = "report/analytics_report.json", "report/quality.json", "report/report.html"
COLUMNS, DRIFT = "report/columns.json", "report/drift.json"
TOLD = "cleanup/told.json"
LOCK_FOLDER = "daskjobs-series"  # in the series: its lock, so that one run at a time commits its report


def partition_files(number: int) -> dict[str, str]:
    """Return the names of a partition's files, by their content."""
    return {content: numbered(name, number) for content, name in PARTITION_FILES.items()}
