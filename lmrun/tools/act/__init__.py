"""The loop in which a model calls tools until it has an answer."""
