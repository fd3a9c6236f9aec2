"""The key of a trial, of all that decides what it measures at once."""

from lrsearch.spec.model import canonical, identity, key_of_text, rest_of_key


def trial_key(config, content, seed, fold):
    return key_of_text(canonical(identity(config)), rest_of_key(content, seed, fold))
