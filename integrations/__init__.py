"""Adapters: each translates one host's events into `Watch.observe`, and holds no logic of its own."""
