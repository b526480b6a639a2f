"""One suite over every adapter: what a watch must never change, and must never lose."""
