"""Traffic control as netlink messages: qdiscs, classes and filters, as steps and as what the kernel says of them.

`place` reads names (`eth0/1:10`, `blue/eth0/dport=5432`), `match` makes u32 keys of flows, `messages` encodes requests
(pyroute2, loaded when first used), `seen` asks the kernel, `tree` plans steps and their undoing, `inward` for what comes
in, `probe` says what this kernel has. Nothing here changes anything: steps do, performed by `vagus.undo`.
"""
