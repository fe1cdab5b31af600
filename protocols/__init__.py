"""What is said and how it travels: the record of a run, tasks, events, errors."""
