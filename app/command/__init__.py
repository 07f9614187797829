"""What the command `purifiqa` does; `app/cli.py` says how it is called."""
