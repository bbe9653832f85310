"""A run of several processes as one: its ranks aligned, their statistics merged lazily."""
