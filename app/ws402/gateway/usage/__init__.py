"""Money is used: live sessions, their checkpoints, and their settlement."""
