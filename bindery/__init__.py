"""Bindery turns a repository reference into a running notebook."""

__version__ = "0.1.0"
