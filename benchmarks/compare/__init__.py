"""Whether `actrace.compare` tells trainings apart that should be, and what a hundred runs take."""
