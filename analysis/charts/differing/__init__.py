"""What differs: training from validation, runs from a baseline, one layer of two runs."""
