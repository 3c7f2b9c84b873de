"""One rollout: the project's MCP servers, an endpoint, and the loop between them.

`servers.connect_servers` opens the servers for one world, `rollout.run_rollout` runs one task on them,
`pool.run_tasks` runs many at once, `chat.run_chat` puts a person in the place of the task.
"""
