"""Reports on finished runs: everything about one or several, and how two differ."""

from ..runs.run import read_run
from .compare import ComparisonOptions, compare_runs, comparison_markdown, write_comparison
from .evaluate import ReportOptions
from .full_report import write_full_report

__all__ = [
    "ComparisonOptions",
    "ReportOptions",
    "compare_runs",
    "comparison_markdown",
    "read_run",
    "write_comparison",
    "write_full_report",
]
