-- Make the session with Ardour's own dummy backend, no JACK involved.
-- ardour7-lua make_session.lua DIR NAME TEMPO

local dir, name, tempo = arg[1], arg[2], tonumber (arg[3])
local cfg = ARDOUR.config ()
-- libjack's request socket is not thread-safe: Ardour's auto-connect thread racing port registration garbles it,
-- so: no auto-connection at all, and a pause after each step that registers ports.
cfg:set_input_auto_connect (ARDOUR.AutoConnectOption.ManualConnect)
cfg:set_output_auto_connect (ARDOUR.AutoConnectOption.ManualConnect)
cfg:set_auto_connect_standard_busses (false)
cfg:set_send_midi_clock (true)
local s = create_session (dir, name, 48000)
assert (s and not (type (s) == "nil"), "no session")
sleep (1)
local midi = ARDOUR.ChanCount (ARDOUR.DataType ("midi"), 1)
for _, track in ipairs ({ "Phrase", "Answer" }) do
  s:new_midi_track (midi, midi, true, ARDOUR.PluginInfo (), nil, nil, 1, track, ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, false, false)
  sleep (0.7)
end
local tm = Temporal.TempoMap.write_copy ()
tm:set_tempo (Temporal.Tempo (tempo, tempo, 4), Temporal.timepos_t (0))
Temporal.TempoMap.update (tm)
s:save_state ("", false, false, false, false, false)
close_session ()
quit ()
