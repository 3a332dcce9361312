"""How bytes of an MCP server become messages, and back: within bounds, whatever it sends."""
