"""Results -> a self-contained HTML page; no number depends on it."""

from bpnet.report.answers import answer_of, spread, write_evaluation_report
from bpnet.report.page import ReportAnswer, write_report

__all__ = ["ReportAnswer", "answer_of", "spread", "write_evaluation_report", "write_report"]
