"""Processes that tools run in: what they may use, what they see, and their end, whatever they
have started."""
