"""The MCP client's parts; its public face is ``lib.mcp_client``.  (The SDK is ``mcp``.)"""
