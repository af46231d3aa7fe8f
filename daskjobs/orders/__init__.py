"""Orders: reading dirty files, judging rows, exact money. It knows no Kubernetes and no Argo."""
