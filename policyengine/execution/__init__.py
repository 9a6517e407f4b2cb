"""Target weights to fills, and the book they leave."""
