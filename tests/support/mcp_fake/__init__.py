"""A small MCP server that speaks raw JSON lines, and misbehaves as its argument says.

A program of its own: it imports nothing of lmrun and nothing of the protocol's library. The tool
`echo` always behaves; calling `poke` sets off the misbehaviour.
"""
