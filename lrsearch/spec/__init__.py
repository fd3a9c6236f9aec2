"""A YAML file with its line numbers becomes a frozen `Spec`."""
