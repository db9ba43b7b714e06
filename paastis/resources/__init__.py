"""Kubernetes resources as plain dicts, and what they say in our own values. Pure."""
