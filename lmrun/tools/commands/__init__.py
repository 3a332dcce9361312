"""Commands: argv templates, run without a shell."""
