-- ardour7-lua make_midi_session.lua DIR NAME: a session with one MIDI track, named Phrase, and nothing on it.
local dir, name = arg[1], arg[2]
AudioEngine:set_backend ("None (Dummy)", "", "")
local s = create_session (dir, name, 48000)
assert (s and not (type (s) == "nil"), "no session")
local midi = ARDOUR.ChanCount (ARDOUR.DataType ("midi"), 1)
s:new_midi_track (midi, midi, false, ARDOUR.PluginInfo (), nil, nil, 1, "Phrase", ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, false, false)
sleep (0.5)
s:save_state ("", false, false, false, false, false)
close_session ()
quit ()
