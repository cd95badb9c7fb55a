"""The bundled backends: one backend = one file = one class = one hook."""
