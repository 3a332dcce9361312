"""A Python program's way to a running lmrun: it knows only what the HTTP port says."""
