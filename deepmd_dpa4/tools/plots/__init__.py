"""Pictures of trainings and of models."""
