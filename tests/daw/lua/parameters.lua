-- Of a plug-in a parameter, by its label: its place among all, and its number as Ardour's scripts count.
return function (plug, wanted)
  local n = 0  -- they count all controls, in LV2 the latency's port first
  for i = 0, plug:parameter_count () - 1 do
    if plug:parameter_is_control (i) then
      if plug:parameter_label (i) == wanted then return i, n end
      n = n + 1
    end
  end
end
