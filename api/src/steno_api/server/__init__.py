"""Contract of operator and a pool's servers: the server's task, session tokens, and reports of sessions.

A server has no rights in the cluster. It learns about a session from the signed token that the client presents; it
reports its sessions every second or two, authenticated by its projected ServiceAccount token; and the answer lists the
sessions to end, the reports that need not be repeated, and, when they changed, the sessions whose tokens are valid.
Fields that one side does not know are ignored, and absent ones mean that the other side does not know them.
"""
