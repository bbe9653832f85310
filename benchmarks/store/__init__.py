"""What a store costs and how fast it is read, at ten thousand to a million batches."""
