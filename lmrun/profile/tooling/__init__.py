"""What a profile declares about tools: its own, those of MCP servers, agents, and the policy."""
