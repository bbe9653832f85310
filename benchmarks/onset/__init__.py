"""How near the onset of overfitting lies to the least validation loss."""
