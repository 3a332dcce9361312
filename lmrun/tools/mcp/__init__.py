"""The MCP host: servers of the Model Context Protocol, each supervised by itself."""
