-- ardour7-lua automate.lua DIR NAME LABEL SECONDS BEFORE AFTER: a parameter of each track's plug-in steps at that time.
local dir, name, wanted, at, before, after = arg[1], arg[2], arg[3], tonumber (arg[4]), tonumber (arg[5]), tonumber (arg[6])
local find_parameter = dofile (debug.getinfo (1, "S").source:match ("^@(.*/)") .. "parameters.lua")
AudioEngine:set_backend ("None (Dummy)", "", "")
local s = load_session (dir, name)
assert (s, "no session")
local step = math.floor (at * s:nominal_sample_rate () + 0.5)
for t in s:get_tracks ():iter () do
  local p = t:nth_plugin (0)
  local place, number = find_parameter (p:to_insert ():plugin (0), wanted)
  if place then
    local al, cl, _ = ARDOUR.LuaAPI.plugin_automation (p, number)
    assert (not al:isnil (), "no automation")
    cl:set_interpolation (Evoral.InterpolationStyle.Discrete)
    cl:add (Temporal.timepos_t (0), before, false, true)
    cl:add (Temporal.timepos_t (step), after, false, true)
    local which = Evoral.Parameter (ARDOUR.AutomationType.PluginAutomation, 0, place)
    p:to_automatable ():automation_control (which, false):set_automation_state (ARDOUR.AutoState.Play)
    print ("automated", wanted)
  end
end
sleep (1)
s:save_state ("", false, false, false, false, false)
close_session ()
quit ()
