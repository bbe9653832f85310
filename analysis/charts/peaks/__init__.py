"""YES and NO: twin peaks by epoch, class peaks, separation."""
