"""What a rollout is watched by: metrics, alerts, signal health. Knows stored facts, not the rollout itself."""
