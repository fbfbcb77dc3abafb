"""Matrix products of other tools: their files in, and lines that can be joined with theirs out."""
