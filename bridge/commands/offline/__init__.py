"""Subcommands of `genaudio` that read files and write files."""
