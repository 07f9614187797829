"""What the command `purifiqa` does; `app/cli` says how it is called."""
