"""What the probes share: an ASGI client, and watchers of SQLAlchemy, of tasks and of the loop."""
