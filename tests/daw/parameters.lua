-- Of a plug-in the parameter that one sets, by its label: its place among all, and its number as Ardour's scripts count.
return function (plug, wanted)
  local n = 0  -- Ardour counts the latency's port, which comes first, among the controls
  for i = 0, plug:parameter_count () - 1 do
    if plug:parameter_is_control (i) and plug:parameter_is_input (i) then
      n = n + 1
      if plug:parameter_label (i) == wanted then return i, n end
    end
  end
end
