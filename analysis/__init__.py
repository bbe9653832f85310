"""Zarr -> answers: kernels (NumPy), xarray functions, charts.

May import `actrace.store`; never `actrace.capture`.
"""
