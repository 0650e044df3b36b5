"""The kernel of planning: policy, observation, action, step. The package depends on no particular kind of resource."""
