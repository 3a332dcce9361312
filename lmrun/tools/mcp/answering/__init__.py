"""What lmrun answers when a server asks: a model's words, a person's, directories."""
