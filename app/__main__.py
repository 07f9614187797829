"""`python -m app` is `purifiqa`."""

from app.cli import main

if __name__ == "__main__":
    main()
