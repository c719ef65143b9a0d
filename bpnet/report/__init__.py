"""Results -> a self-contained HTML page, or a figure; no number depends on it."""

from bpnet.report.answers import answer_of, spread, write_evaluation_report
from bpnet.report.page import write_report
from bpnet.report.plot import write_plot
from bpnet.report.report_answer import ReportAnswer

__all__ = [
    "ReportAnswer",
    "answer_of",
    "spread",
    "write_evaluation_report",
    "write_plot",
    "write_report",
]
