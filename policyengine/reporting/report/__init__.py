"""report.html: one file that needs nothing else, drawn from what a run stored."""

from policyengine.reporting.report.page import render, write_report

__all__ = ["render", "write_report"]
