-- ardour7-lua play.lua DIR NAME BACKEND ORDER...: plays a session, one order after the other.
--
-- dummy backend at half speed, or JACK; the orders:
--   engine (wait until the plug-in says that it is there) | do COMMAND | saved TEXT (save until what is saved holds it)
--   set LABEL VALUE (of the plug-in) | tempo BPM SAMPLE | locate SAMPLE | roll | stop | loop on|off | until SAMPLE | back SAMPLE (wait until it is before it)
--   take (what the probe of GENAUDIO_PROBE writes from here ...) | taken (... to here is told, and whether no block was missed)
-- What does not come within two minutes ends it.
local dir, name, backend = arg[1], arg[2], arg[3]
local find_parameter = dofile (debug.getinfo (1, "S").source:match ("^@(.*/)") .. "parameters.lua")
local config = ARDOUR.config ()
config:set_input_auto_connect (ARDOUR.AutoConnectOption.ManualConnect)
config:set_output_auto_connect (ARDOUR.AutoConnectOption.ManualConnect)
if backend == "JACK" then
  AudioEngine:set_backend ("JACK", "ardour", "")
else
  AudioEngine:set_backend ("None (Dummy)", "", ""):set_driver ("Half Speed")
end
local s = load_session (dir, name)
assert (s, "no session")

local function await (what, condition)
  for _ = 1, 6000 do
    if condition () then return end
    sleep (0.02)
  end
  error ("does not come: " .. what)
end

local function ours ()
  for t in s:get_tracks ():iter () do
    local i = 0
    while not t:nth_plugin (i):isnil () do
      local p = t:nth_plugin (i)
      local _, engine = find_parameter (p:to_insert ():plugin (0), "Engine")
      local _, missed = find_parameter (p:to_insert ():plugin (0), "Missed blocks")
      if engine then return p, engine, missed end
      i = i + 1
    end
  end
  error ("no plug-in with an engine")
end

local function value (which)
  local p, engine, missed = ours ()
  return (ARDOUR.LuaAPI.get_processor_param (p, which == "missed" and missed or engine))
end

local function written ()
  local f = io.open (os.getenv ("GENAUDIO_PROBE"), "rb")
  if not f then return 0 end  -- no probe in the session
  local n = string.unpack ("<i8", f:read (8))
  f:close ()
  return n
end

local from, before
local next_word = 3
local function word ()
  next_word = next_word + 1
  return arg[next_word]
end
local orders = {
  engine = function () await ("engine", function () return value ("engine") > 0.5 end) end,
  ["do"] = function () assert (os.execute ("env -u LD_LIBRARY_PATH -u LD_PRELOAD " .. word ())) end,
  saved = function ()
    local text = word ()
    await (text, function ()
      s:save_state ("", false, false, false, false, false)
      -- An LV2's state is in files of its own, a VST3's in the session's, as base64.
      local chunks = "sed -n 's/.*<chunk[^>]*>\\([^<]*\\)<.*/\\1/p' '" .. dir .. "/" .. name .. ".ardour' | base64 -d | grep -aqF '" .. text .. "'"
      return os.execute ("grep -rqsF '" .. text .. "' '" .. dir .. "/plugins' || " .. chunks) == true
    end)
  end,
  set = function ()
    local p = ours ()
    local _, which = find_parameter (p:to_insert ():plugin (0), word ())
    assert (ARDOUR.LuaAPI.set_processor_param (p, which, tonumber (word ())))
  end,
  tempo = function ()
    local bpm, at = tonumber (word ()), tonumber (word ())
    local tm = Temporal.TempoMap.write_copy ()
    tm:set_tempo (Temporal.Tempo (bpm, bpm, 4), Temporal.timepos_t (at))
    Temporal.TempoMap.update (tm)
  end,
  locate = function ()
    local to, rolls = tonumber (word ()), s:transport_rolling ()
    local how = ARDOUR.LocateTransportDisposition[rolls and "MustRoll" or "MustStop"]
    s:request_locate (to, false, how, ARDOUR.TransportRequestSource.TRS_UI)
    if not rolls then await ("locate", function () return s:transport_sample () == to end) end
  end,
  roll = function () s:request_roll (ARDOUR.TransportRequestSource.TRS_UI) end,
  stop = function ()
    s:request_stop (false, false, ARDOUR.TransportRequestSource.TRS_UI)
    await ("stop", function () return not s:transport_rolling () end)
    sleep (0.5)  -- what ends with it
  end,
  loop = function () s:request_play_loop (word () == "on", false) end,
  ["until"] = function () local to = tonumber (word ()); await ("until " .. to, function () return s:transport_sample () >= to end) end,
  back = function () local to = tonumber (word ()); await ("back " .. to, function () return s:transport_sample () < to end) end,
  take = function () from, before = written (), value ("missed") end,
  taken = function () print ("taken", from, written (), math.floor (value ("missed") - before)) end,
}
local order = word ()
while order do
  orders[order] ()
  order = word ()
end
close_session ()
quit ()
