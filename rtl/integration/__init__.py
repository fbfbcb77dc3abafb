"""What goes with an exported core into systems of others: drivers, scripts for their tools."""
