"""What a team tells of its runs while they go on: traces and metrics by OpenTelemetry, and logs.

Off unless the team file, or an option of the command line, asks for it: then nothing is wrapped, OpenTelemetry is not
even imported, and nothing leaves the process. `spec` says what may be asked for, `logs` tells events as log records,
`watch` makes what `traced` wraps around agents, models, tools and the coordinator.
"""
