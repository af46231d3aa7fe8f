"""The contract of a stage: its context, its commit by a manifest, and how a run resumes after a failure."""
