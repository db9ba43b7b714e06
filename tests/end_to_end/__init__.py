"""The real programs as processes, over real HTTP: what visitors, operators and the provider see."""
