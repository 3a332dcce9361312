"""What the dialects whose requests name the server's tools have in common."""
