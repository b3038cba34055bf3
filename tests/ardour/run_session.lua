-- Load the session on JACK and do what the test asks.  ardour7-lua run_session.lua DIR NAME FLAGDIR
-- The test writes FLAGDIR/order ("record Phrase 12", "record Answer 12", "tempo 150 12", "loop - 12", "quit - 0"); we answer with
-- FLAGDIR/done after each, and FLAGDIR/ready at the beginning.
local dir, name, flag = arg[1], arg[2], arg[3]
local function touch (p) local f = io.open (p, "w"); f:write ("1"); f:close () end
local function take (p)
  local f = io.open (p, "r")
  if not f then return nil end
  local text = f:read ("*a")
  f:close ()
  os.remove (p)
  return text
end
local cfg = ARDOUR.config ()
cfg:set_input_auto_connect (ARDOUR.AutoConnectOption.ManualConnect)
cfg:set_output_auto_connect (ARDOUR.AutoConnectOption.ManualConnect)
cfg:set_auto_connect_standard_busses (false)
cfg:set_send_midi_clock (true)
AudioEngine:set_backend ("JACK", "ardour", "")
local s = load_session (dir, name)
assert (s, "no session")
sleep (0.5)
local function arm (wanted)
  for t in s:get_tracks ():iter () do
    local on = t:name () == wanted and 1 or 0
    t:to_track ():rec_enable_control ():set_value (on, PBD.GroupControlDisposition.NoGroup)
  end
end
touch (flag .. "/ready")
for i = 1, 6000 do
  local order = take (flag .. "/order")
  if order then
    local what, track, seconds = order:match ("(%S+) (%S+) (%S+)")
    print ("order", order)
    if order:match ("quit") then break end
    s:goto_start (false)
    sleep (0.4)
    if what == "record" then
      arm (track)
      sleep (0.2)
      s:maybe_enable_record (false)
      s:request_roll (ARDOUR.TransportRequestSource.TRS_UI)
    else
      if what == "loop" then s:request_play_loop (true, false) end
      s:request_roll (ARDOUR.TransportRequestSource.TRS_UI)
    end
    for j = 1, math.floor (tonumber (seconds) * 10) do
      sleep (0.1)
      if what == "tempo" and j == 45 then  -- somebody turns the tempo knob while it rolls
        local tm = Temporal.TempoMap.write_copy ()
        tm:set_tempo (Temporal.Tempo (tonumber (track), tonumber (track), 4), Temporal.timepos_t (0))
        Temporal.TempoMap.update (tm)
      end
      if j == 5 then print ("rolling", s:transport_rolling (), "recording", s:actively_recording (), "frame", s:transport_sample ()) end
    end
    s:request_stop (false, false, ARDOUR.TransportRequestSource.TRS_UI)
    sleep (1.0)
    print ("stopped at", s:transport_sample (), "xruns", s:get_xrun_count ())
    if what == "loop" then s:request_play_loop (false, false) end
    if what == "record" then s:disable_record (false, false) end
    arm ("")
    for t in s:get_tracks ():iter () do
      for r in t:to_track ():playlist ():region_list ():iter () do
        print ("region", t:name (), r:name (), r:position ():samples (), r:length ():samples ())
      end
    end
    s:save_state ("", false, false, false, false, false)
    sleep (0.3)
    touch (flag .. "/done")
  end
  sleep (0.05)
end
close_session ()
quit ()
