"""Functions of Python, run in a process of their own."""
