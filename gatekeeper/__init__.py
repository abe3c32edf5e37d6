"""Gatekeeper: a Layer-7 gateway for PostgreSQL with an operator console in the terminal."""

__version__ = "0.1.0"
