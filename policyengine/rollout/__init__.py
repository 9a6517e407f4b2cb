"""May it trade: modes, permits, approvals, the kill switch and the audit log."""
