"""An MCP server with a prompt and a resource, made with the official package `mcp`."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("house", log_level="ERROR")


@server.prompt(description="How a letter is answered.")
def answer_a_letter(tone: str) -> str:
    return f"Answer the letter that I tell you of in one {tone} sentence. Use what you are given."


@server.resource("house://opening-hours", description="When the house is open.")
def opening_hours() -> str:
    return "The library is open from Tuesday to Saturday, 10 to 18 o'clock."


if __name__ == "__main__":
    server.run()
