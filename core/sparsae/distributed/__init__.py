"""Fits on a Dask cluster: the sums of the local engine, made by workers that hold the rows."""
