"""lmrun: a declarative runner for local language models."""

__version__ = "0.1.0"
