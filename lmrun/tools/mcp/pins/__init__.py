"""What somebody has agreed to about MCP servers, and what has changed since."""
