"""The one loop: propose, skip what is measured, train, journal, tell."""
