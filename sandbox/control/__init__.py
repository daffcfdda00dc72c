"""Dumont Cloud: its HTTP API, working for real on the marketplace, the machines and the store."""
