"""`vagus top`: the cluster at a glance in a terminal.

`told` are the sections as the gateway sends them, `state` what is known and looked at, `keys` what was pressed, `views`
and `frame` make lines of it (all pure); `source` reads the stream, `screen` is the terminal, `command` joins them.
"""
