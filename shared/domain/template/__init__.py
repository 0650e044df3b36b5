"""The template objects of users and the session templates of profiles: the wanted objects and the actions on them."""
