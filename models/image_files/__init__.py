"""Image files from the outside in: limits, headers of three formats, orientation, colors. Use `models.images`."""
