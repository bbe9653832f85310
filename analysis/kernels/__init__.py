"""The mathematics of the answers, on plain arrays.

These modules import NumPy and SciPy alone: no xarray, no dask, no store.
"""
