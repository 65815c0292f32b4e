"""Truths drawn by code of its own, on which the public statistics of snellen.insight are judged."""
