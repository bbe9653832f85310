"""Charts -> a notebook's cell, an HTML page, a file, a film."""
