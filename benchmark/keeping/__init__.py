"""The upkeep of what runs leave: what may go, whether records can be believed, and all of them in one file."""
