"""A SageMaker endpoint on this machine: real HTTP, real signatures, real models."""
