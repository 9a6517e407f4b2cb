"""Typed, frozen configuration: what YAML may say, and every rule it must keep."""
