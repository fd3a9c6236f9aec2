"""The user's code: the parts of it that may run, and the state of the process that it has to
itself."""
