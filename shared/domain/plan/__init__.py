"""The kernel of planning: policy, observation, action, step. Knows no kind of resource."""
