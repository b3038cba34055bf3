"""The panel: what is heard and played, and everything that can be turned, in a browser.

It runs in a process of its own (`server`), gets copies of what the session tells anyway, and sends back the messages of
`bridge.settings.control_messages`. Nothing that plays waits for it: a page, or this process, that hangs or dies changes
nothing in the music.
"""

from genaudio_core import lazily

__getattr__, __dir__ = lazily(
    __name__,
    {'panel': ('Panel', 'PanelAddress'), 'notes': ('packed', 'unpacked'), 'server': ('run_panel',)},
)
