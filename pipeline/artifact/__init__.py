"""Artifacts: manifests, fingerprints, atomic publication, verification, lineage."""
