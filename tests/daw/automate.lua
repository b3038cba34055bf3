-- ardour7-lua automate.lua DIR NAME LABEL SECONDS BEFORE AFTER: a parameter of each track's plug-in steps at that time.
local dir, name, wanted, at, before, after = arg[1], arg[2], arg[3], tonumber (arg[4]), tonumber (arg[5]), tonumber (arg[6])
AudioEngine:set_backend ("None (Dummy)", "", "")
local s = load_session (dir, name)
assert (s, "no session")
local step = math.floor (at * s:nominal_sample_rate () + 0.5)
for t in s:get_tracks ():iter () do
  local p = t:nth_plugin (0)
  local plug, n = p:to_insert ():plugin (0), -1
  for i = 0, plug:parameter_count () - 1 do
    if plug:parameter_is_control (i) and plug:parameter_is_input (i) then
      n = n + 1
      if plug:parameter_label (i) == wanted then
        local al, cl, _ = ARDOUR.LuaAPI.plugin_automation (p, n + 1)  -- as in add_plugin.lua
        assert (not al:isnil (), "no automation")
        cl:set_interpolation (Evoral.InterpolationStyle.Discrete)
        cl:add (Temporal.timepos_t (0), before, false, true)
        cl:add (Temporal.timepos_t (step), after, false, true)
        local which = Evoral.Parameter (ARDOUR.AutomationType.PluginAutomation, 0, i)
        p:to_automatable ():automation_control (which, false):set_automation_state (ARDOUR.AutoState.Play)
        print ("automated", wanted)
      end
    end
  end
end
sleep (1)
s:save_state ("", false, false, false, false, false)
close_session ()
quit ()
