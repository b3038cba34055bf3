-- ardour7-lua add_plugin.lua DIR NAME PLUGIN TYPE LABEL WHERE: put the plug-in at the begin of each track (WHERE: tracks), or at the end
-- of the master bus (master), switch a parameter on, save.
local dir, name, which, kind, wanted, where = arg[1], arg[2], arg[3], arg[4], arg[5], arg[6]
local find_parameter = dofile (debug.getinfo (1, "S").source:match ("^@(.*/)") .. "parameters.lua")
AudioEngine:set_backend ("None (Dummy)", "", "")
local s = load_session (dir, name)
assert (s, "no session")
local function put (route, place)
  local p = ARDOUR.LuaAPI.new_plugin (s, which, ARDOUR.PluginType[kind], "")
  assert (not p:isnil (), "no plug-in")
  assert (route:add_processor_by_index (p, place, nil, true) == 0, "not added")
  local place, number = find_parameter (p:to_insert ():plugin (0), wanted)
  if place then
    print ("latency", p:to_insert ():signal_latency ())
    print ("set", ARDOUR.LuaAPI.set_processor_param (p, number, 1))
  end
end
if where == "master" then put (s:master_out (), -1)
else
  for t in s:get_tracks ():iter () do put (t, 0) end
end
sleep (1)
s:save_state ("", false, false, false, false, false)
close_session ()
quit ()
