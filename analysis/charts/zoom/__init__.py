"""A large colorful dimension that is panned and zoomed, reading what is in view."""
