"""Gray failures: real servers, real clients, faults from outside, and who notices first.

`run` starts a scenario in namespaces of its own; `stage` is what runs in there: `hosts` (network), `servers`,
`clients` (programs that use `vagus.observe`), `faults`, `observer` (an ObserverActor as a process), `heartbeat` (what
usual monitors do, with a phi-accrual detector beside). `scenarios` is the list. Nothing in a server or a client knows
of the faults; nothing of a fault is left when the namespaces end.
"""
