"""Negative controls: simulated policies whose worth is known, judged by a plain rule and by the gate."""

from policyengine.evidence.controls.rows import ControlRow
from policyengine.evidence.controls.run import CONTROLS, run_controls

__all__ = ["CONTROLS", "ControlRow", "run_controls"]
