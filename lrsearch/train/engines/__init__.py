"""Engines: trials trained one after the other, or side by side, and the choice between both."""
