"""The proxy: maps a visitor's Host to an app, notes the use, wakes the app and forwards."""
