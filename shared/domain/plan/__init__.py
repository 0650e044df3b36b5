"""The kernel of planning: policy, observation, action, step. It knows no kind of resource."""
