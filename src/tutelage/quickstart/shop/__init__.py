"""The embedded example: a shop behind an MCP server, its tasks and their verifier.

`database` is the shop itself, `server` its tools, `tasks` what is asked of an agent, `wording` how, `verify` prepares a
task's world and judges what a rollout left there. `python -m tutelage.quickstart.shop` runs the server.
"""
