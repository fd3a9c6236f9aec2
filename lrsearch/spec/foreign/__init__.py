"""Words of other tools, and the line of a spec that stands for each."""
