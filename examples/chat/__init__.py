"""Chat rooms over WebSocket: names, presence and the last messages."""
