"""Sees a closed circle. Read by the checker, run by nobody."""

TRAP = "demo/retries#a-closed-circle"
