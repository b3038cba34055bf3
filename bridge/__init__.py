"""The live side: ports, clock, scheduler, players, the audio process and the command `genaudio`. Never imports torch."""
