"""Tools that lmrun itself runs: functions, commands, requests over HTTP, those of MCP servers; the
policy that guards them, and the loop in which models use them. It knows no runtime and no API."""
