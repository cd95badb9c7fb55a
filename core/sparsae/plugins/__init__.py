"""The plugin system: the backend contract, discovery by entry point, selection."""
