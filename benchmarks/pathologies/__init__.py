"""Small real trainings, healthy or with one fault planted, and how well `diagnose` tells them."""
