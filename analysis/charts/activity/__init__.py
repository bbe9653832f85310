"""How much is active and how much dead: rates, the warning chart, the map of units."""
