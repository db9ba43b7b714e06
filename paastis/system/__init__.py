"""What every program says about itself: health, metrics, the system API and the CLI's socket."""
