"""How coordinators and agents learn: tasks, rollouts, credit, losses, trainers, evaluation."""
