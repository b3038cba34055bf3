-- ardour7-lua add_plugin.lua DIR NAME PLUGIN TYPE LABEL: put the plug-in into each track, switch a parameter on, save.
local dir, name, which, kind, wanted = arg[1], arg[2], arg[3], arg[4], arg[5]
local find_parameter = dofile (debug.getinfo (1, "S").source:match ("^@(.*/)") .. "parameters.lua")
AudioEngine:set_backend ("None (Dummy)", "", "")
local s = load_session (dir, name)
assert (s, "no session")
for t in s:get_tracks ():iter () do
  local p = ARDOUR.LuaAPI.new_plugin (s, which, ARDOUR.PluginType[kind], "")
  assert (not p:isnil (), "no plug-in")
  assert (t:add_processor_by_index (p, 0, nil, true) == 0, "not added")
  local place, number = find_parameter (p:to_insert ():plugin (0), wanted)
  if place then
    print ("latency", p:to_insert ():signal_latency ())
    print ("set", ARDOUR.LuaAPI.set_processor_param (p, number, 1))
  end
end
sleep (1)
s:save_state ("", false, false, false, false, false)
close_session ()
quit ()
