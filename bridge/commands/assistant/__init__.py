"""What an assistant (a program that speaks the Model Context Protocol) can do with a band: `genaudio mcp`."""
