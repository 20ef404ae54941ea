"""The client of Steno: a library that returns values, and `steno`, the command line on top of it.

Nothing here prints, except for `commands`, `cli` and `terminal`. The parts that are useful on their own:

- `kube`, `resource`, `lookup`: connect to a cluster, find and list jobs and sessions.
- `manifests`, `lifecycle`: check manifests, create resources, wait for them.
- `download`: download published artifacts from S3 and verify their digests.
- `target`, `ready_session`, `streaming`: stream audio to a session.
- `evaluation`: score transcripts and pages against references.
- `local`: run the pipelines on this machine, without a cluster.

Every error that a user can act on is an `errors.CommandError`. Modules are not imported here, so that
`steno --help` loads neither the Kubernetes client nor the runtime.
"""
