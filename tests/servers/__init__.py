"""Real servers for the tests: each starts on a free port and is stopped by its own pid."""
