"""The decision service: features → group → a table look-up; outcomes → statistics → the next table. Pure.

In the order data flows: `grouping` names the group of a session, `table` draws an arm and says with what probability,
`outstanding` remembers what waits for its outcome, `learner` keeps what is known of each group in banks of
`vagus.policies` and makes the next table at each tick, `plan` says which node leads which group, `partition` learns the
groups. `decider` is all of it in one process.
"""
