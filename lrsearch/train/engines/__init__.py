"""Engines: trials one after the other, or side by side, and which of both serves."""
