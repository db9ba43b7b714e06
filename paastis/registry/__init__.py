"""Where controller and proxies meet: one port, one module per kind."""
