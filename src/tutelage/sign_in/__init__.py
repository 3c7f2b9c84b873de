"""Signing in to MCP servers that want it (OAuth), with the SDK's own client.

A person signs in once (`person.signing_in`: browser, redirect to this machine). What the server gave is kept
(`kept.Kept`: the user's keyring, or a file that only the user reads), and rollouts use and refresh it
(`rollouts.KeptSignIn`).
"""
