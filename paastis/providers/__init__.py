"""The providers: one port, one adapter each, one HTTP client for all."""
