"""The live side: ports, clock, scheduler, players, the audio process, the command `genaudio`. Never imports torch."""
