"""The subcommands of `genaudio-export`: one module each."""
