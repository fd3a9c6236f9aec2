"""Words of other tools, and the line of a spec that stands for each.

A foreign word stays a fault: it is told what to write, with the user's own value. `words` is the
one table, for specs, `--set` and the options of the command line; `names` and `schedules` know
what components are called elsewhere, `ranges` how ranges and lists are written there;
`translation` and `objective` make lines of a word and its value, `advice` of a document's key.
"""
