"""Requests over HTTP, and the one way out of lmrun to other machines."""
