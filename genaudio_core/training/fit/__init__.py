"""One trainer for each model that `genaudio-train fit` knows."""
