"""Who speaks next and at what cost: team file, topology, engine, budget, coordinators, server."""
