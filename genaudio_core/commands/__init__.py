"""The subcommands of `genaudio-train`: one module each, those that prepare data in `data`."""
