"""Many runs: which are good, what they have counted, and how one differs from another.

Everything here comes from manifests, and from files that these vouch for, held against their hashes.
"""
