-- ardour7-lua add_plugin.lua DIR NAME PLUGIN TYPE LABEL: put the plug-in into each track, switch a parameter on, save.
local dir, name, which, kind, wanted = arg[1], arg[2], arg[3], arg[4], arg[5]
AudioEngine:set_backend ("None (Dummy)", "", "")
local s = load_session (dir, name)
assert (s, "no session")
for t in s:get_tracks ():iter () do
  local p = ARDOUR.LuaAPI.new_plugin (s, which, ARDOUR.PluginType[kind], "")
  assert (not p:isnil (), "no plug-in")
  assert (t:add_processor_by_index (p, 0, nil, true) == 0, "not added")
  local plug, n = p:to_insert ():plugin (0), -1
  for i = 0, plug:parameter_count () - 1 do
    if plug:parameter_is_control (i) and plug:parameter_is_input (i) then
      n = n + 1
      if plug:parameter_label (i) == wanted then
        print ("latency", p:to_insert ():signal_latency ())
        -- Ardour counts the latency's port, which comes first, among the controls.
        print ("set", ARDOUR.LuaAPI.set_processor_param (p, n + 1, 1))
      end
    end
  end
end
sleep (1)
s:save_state ("", false, false, false, false, false)
close_session ()
quit ()
