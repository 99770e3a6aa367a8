"""The site as a reader has it: built once, served below a path, opened in a real browser."""
