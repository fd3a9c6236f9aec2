"""Runs in the formats of other tools, written from plain values by the tools' own libraries.

`FORMATS` in `formats` is the one list; `values` is what every writer is given.
"""
