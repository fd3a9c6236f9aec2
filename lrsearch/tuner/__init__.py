"""The loop of a search: propose, skip measured points, train, journal, tell."""
