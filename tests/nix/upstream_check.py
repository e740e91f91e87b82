"""Filled in below."""
def check(options, folder):
    return []
