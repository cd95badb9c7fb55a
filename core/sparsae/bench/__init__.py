"""The benchmark: race backends under equal conditions, check their results, and report with intervals.

A race goes from `plan` (what is raced) over `race` and `contest` (processes in turns, events) to `record` (events in a
file), `standings` (ratios and tiers from events) and `report` (text, figures, one page).
A process of a contest is a `task_process`; `worker` is its other end and `tasks` is what it times.
"""
