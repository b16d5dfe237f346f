"""Open-loop load on an application: requests come when they come, whether earlier ones were answered or not.

`python -m vagus.cli.openloop PLAN.json` sends what a `plan.Plan` says, in a process of its own. On standard output, a
JSON object a line: `{"begun": {"begin_ns", "requests"}}`, then a window (`windows.Window`) each half second, at last
`{"ended": {...}}`. The log is read by `log.read_log`.
"""
