"""A Python project as review.py reads it: files, trees, names, classes. Nothing is executed."""
