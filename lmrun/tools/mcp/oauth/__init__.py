"""OAuth 2.1 for remote MCP servers: logging in, and the credential that comes of it."""
