"""Who speaks: models, roles, tools, documents, and the agent that binds them."""
