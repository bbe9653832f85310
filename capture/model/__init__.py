"""The model as a recorder sees it: its layers' names, what wraps them, what is missed."""
