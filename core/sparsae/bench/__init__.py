"""The benchmark: race backends under equal conditions, check their results, and report with intervals."""
