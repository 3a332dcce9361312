"""JSON schemas of arguments, whoever wrote them: reading as declared, and checking in bounded
time."""
