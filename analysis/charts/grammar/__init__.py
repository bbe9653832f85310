"""What all charts share: colours and type, axes and ticks, frames, panels, keys."""
