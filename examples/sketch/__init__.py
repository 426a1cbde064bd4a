"""Drawing together over WebSocket."""
