"""Which runs a directory holds, a table of them, and what may be changed about one."""
