"""Podium: a learned coordinator in front of a team of LLM agents."""
