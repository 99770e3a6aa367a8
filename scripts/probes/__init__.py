"""Probes: a module each, which looks at one request of a running application.

`look(run)` returns verdicts: ok, found, or cannot-tell and why. What a probe lacks is never ok.
"""
