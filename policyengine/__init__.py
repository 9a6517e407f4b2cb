"""Evidence, permission and enforcement for barbell position sizing, from YAML alone."""

__version__ = "0.1.0"
