"""Small real models, each served by its own process through SageMaker's container contract."""
