"""Words of other tools, and the line of a spec that stands for each.

Another tool's word stays a fault: its hint is the line to write, with the user's own value. `words`
is the one table, for specs, `--set` and the options of the command line; `names` and `schedules`
know the names of components elsewhere, `ranges` the forms of ranges and lists there; `translation`
and `objective` make lines of a word and its value, `advice` of a document's key.
"""
