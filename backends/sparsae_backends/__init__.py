"""The bundled backends: one backend = one module or one package, with one hook."""
