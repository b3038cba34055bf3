"""The subcommands of `genaudio`: one module each, those that work on files in `offline`."""
