"""Stand-ins for applications whose own processes cannot be installed in the sandbox.

What they do for people is next to nothing. Where they keep it is what the applications do: schema, encrypted
columns, sequences, queues, folders, marker files, buckets, secrets. So a restore can be tested on it.
"""
