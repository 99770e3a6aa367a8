"""What the checks know of tasks, sessions, clients, revisions: functions, and no check."""
