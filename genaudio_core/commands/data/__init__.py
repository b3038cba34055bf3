"""Subcommands of `genaudio-train` that prepare what is trained on."""
