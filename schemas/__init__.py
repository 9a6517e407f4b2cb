"""Contracts for every frame that crosses a border. Imports nothing of ours.

The modules import pandera, which costs 0.45 s: import them where a frame arrives.
"""
